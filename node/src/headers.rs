//! The body of a Headers message: how many, and then 80 bytes for each.
//!
//! The engine carries it and does not read it.

use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use molva::{Kind, Network, Payload, SealError};

use crate::rules::HEADER_BYTES;

/// Most headers of one answer: what Bitcoin's nodes send, 160 kB, and within what the wire allows.
pub(crate) const HEADERS_MAX: usize = 2_000;

/// The answer with these headers; those after the first [`HEADERS_MAX`] are left out.
pub(crate) fn seal<'a>(
    network: &Network,
    headers: impl IntoIterator<Item = &'a Header>,
) -> Result<Payload, SealError> {
    let mut body = vec![0; 2];
    for header in headers.into_iter().take(HEADERS_MAX) {
        body.extend_from_slice(&bytes(header));
    }
    let count = (body.len() / HEADER_BYTES) as u16;
    body[..2].copy_from_slice(&count.to_be_bytes());
    Payload::seal(network, Kind::Headers, &body)
}

/// The headers of an answer; `None` if it is anything else.
pub(crate) fn read(body: &[u8]) -> Option<Vec<Header>> {
    let (count, rest) = body.split_first_chunk()?;
    let count = usize::from(u16::from_be_bytes(*count));
    let (headers, left) = rest.as_chunks::<HEADER_BYTES>();
    if count > HEADERS_MAX || headers.len() != count || !left.is_empty() {
        return None;
    }
    headers.iter().map(|header| deserialize(header).ok()).collect()
}

/// A header as it stands before its block.
pub(crate) fn bytes(header: &Header) -> [u8; HEADER_BYTES] {
    let bytes = serialize(header);
    *bytes.first_chunk().expect("a header has 80 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::chain_of;
    use crate::rules::ChainName;

    #[test]
    fn what_is_sealed_is_read_again() {
        let network = ChainName::Regtest.network();
        let headers: Vec<_> =
            chain_of(ChainName::Regtest, 3, 300).iter().map(|block| block.header).collect();
        let payload = seal(&network, &headers).unwrap();
        assert_eq!(read(payload.body()), Some(headers.clone()));
        let many = headers.iter().cycle().take(HEADERS_MAX + 7);
        let payload = seal(&network, many).unwrap();
        assert_eq!(read(payload.body()).map(|headers| headers.len()), Some(HEADERS_MAX));
        assert_eq!(read(seal(&network, []).unwrap().body()), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_list_of_headers_is_refused() {
        let network = ChainName::Regtest.network();
        let genesis = ChainName::Regtest.genesis();
        let body = seal(&network, [&genesis.header]).unwrap().body().to_vec();
        assert!(read(&body).is_some());
        for length in 0..body.len() {
            assert_eq!(read(&body[..length]), None, "{length} bytes");
        }
        assert_eq!(read(&[&body[..], &[0]].concat()), None);
        let many = [&(HEADERS_MAX as u16 + 1).to_be_bytes()[..], &body[2..].repeat(2_001)].concat();
        assert_eq!(read(&many), None);
    }
}
