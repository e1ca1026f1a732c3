//! Opening an envelope: nothing of it is believed, and nothing is allocated beyond what came of it.

use std::io;

use codec::{
    Context, Decode, DecodeError, Envelope, FRAME_HEADER_BYTES, Form, Frame, FrameHeader, Kind,
    Network, Packing, Payload, Reader, check,
};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// The version in whose form a body stands in an envelope, whatever the peers agreed on: the
/// latest, so that one envelope suits all who open such.
pub(crate) const VERSION: u32 = Form::V3.version();

/// Largest window of a frame of zstd, as a power of two: 8 MiB, what its format (RFC 8878) asks of
/// every decoder, and a bound on what a head of some bytes makes us allocate.
const WINDOW_LOG_MAX: u32 = 23;

/// Bytes that are made room for at first. The room is doubled when it is full, so memory is at most
/// this or twice what has come.
const ROOM_FIRST: usize = 64 << 10;

/// Why an envelope does not hold what it says. The sender's fault, always.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BadEnvelope {
    /// Not even its head is right.
    #[error("no envelope: {0}")]
    Head(DecodeError),
    /// The inside is not what its packing says, or asks for too large a window.
    #[error("the inside does not unpack")]
    Broken,
    /// The inside ends before the declared length, or goes on behind it.
    #[error("the inside has another length than {0} bytes")]
    Length(u32),
    /// Bytes follow the inside.
    #[error("bytes follow the inside")]
    Trailing,
    /// The body has another id.
    #[error("the body has another id")]
    Id,
    /// The body may not be relayed.
    #[error("the body is not canonical: {0}")]
    Body(DecodeError),
}

/// What a worker opens envelopes with. Reused: a context takes longer to make than to use.
pub(crate) struct Opener(Decoder<'static>);

impl Opener {
    pub(crate) fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
        Ok(Self(decoder))
    }

    /// The payload that an envelope holds, with its id, and with the envelope beside it if that is
    /// the shorter of the two.
    pub(crate) fn open(
        &mut self,
        network: &Network,
        packed: &Payload,
    ) -> Result<Payload, BadEnvelope> {
        let context = Context { version: VERSION, network };
        let envelope = Envelope::decode(&mut Reader::new(packed.body()), &context)
            .map_err(BadEnvelope::Head)?;
        let kind = envelope.kind;
        let frame = self.unpack(network, &envelope)?;
        let payload = Payload::from_frame(network, Frame::Assembled(kind, frame)).with_id();
        if payload.id() != envelope.id {
            return Err(BadEnvelope::Id);
        }
        check(kind, payload.body(), VERSION, network).map_err(BadEnvelope::Body)?;
        if packed.frame().len() < payload.frame().len() {
            return Ok(payload.with_packed(packed.clone()));
        }
        Ok(payload)
    }

    /// The frame of the plain body.
    fn unpack(
        &mut self,
        network: &Network,
        envelope: &Envelope<'_>,
    ) -> Result<Vec<u8>, BadEnvelope> {
        // `Envelope::decode` has compared it with the limit of the kind, and with what a stored
        // body has.
        let plain = envelope.plain_bytes as usize;
        let header = FrameHeader { kind: envelope.kind as u8, length: plain as u64 };
        let header = header.encode(network.magic);
        match envelope.packing {
            Packing::Stored => Ok([&header[..], envelope.data].concat()),
            Packing::Zstd => {
                self.0.reinit().map_err(|_| BadEnvelope::Broken)?;
                self.unpack_zstd(&header, envelope)
            }
        }
    }

    /// One frame of zstd, all of it, and nothing behind it.
    fn unpack_zstd(
        &mut self,
        header: &[u8],
        envelope: &Envelope<'_>,
    ) -> Result<Vec<u8>, BadEnvelope> {
        let wrong_length = BadEnvelope::Length(envelope.plain_bytes);
        // One byte more than declared: a frame that goes on writes into it.
        let end = FRAME_HEADER_BYTES + envelope.plain_bytes as usize + 1;
        let mut frame = header.to_vec();
        let mut input = InBuffer::around(envelope.data);
        let mut filled = frame.len();
        loop {
            if filled == frame.len() {
                let room = filled.max(ROOM_FIRST).min(end - filled);
                frame.reserve_exact(room);
                frame.resize(filled + room, 0);
            }
            let (before, mut output) = (input.pos(), OutBuffer::around(&mut frame[filled..]));
            let left = self.0.run(&mut input, &mut output).map_err(|_| BadEnvelope::Broken)?;
            let came = output.pos();
            filled += came;
            if filled == end {
                return Err(wrong_length);
            }
            if left == 0 {
                break;
            }
            // Nothing in, nothing out: the frame is cut off.
            if came == 0 && input.pos() == before {
                return Err(BadEnvelope::Broken);
            }
        }
        if filled + 1 != end {
            return Err(wrong_length);
        }
        if input.pos() < envelope.data.len() {
            return Err(BadEnvelope::Trailing);
        }
        frame.truncate(filled);
        frame.shrink_to_fit();
        Ok(frame)
    }
}

/// Kind and id of what an envelope was to hold, for who must hear that it does not.
pub(crate) fn promise(packed: &Payload) -> (Kind, codec::Hash) {
    let unnamed = (Kind::Packed, codec::Hash([0; 32]));
    packed.envelope().map_or(unnamed, |(kind, id, _)| (kind, id))
}

#[cfg(test)]
mod tests {
    use codec::{Hash, Message, PayloadFormat};
    use zstd::bulk::Compressor;
    use zstd::stream::raw::CParameter;

    use super::*;

    const NETWORK: Network = Network::DEV;

    /// A body that packs well.
    fn body(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 % 13) as u8).collect()
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        Compressor::new(3).unwrap().compress(body).unwrap()
    }

    fn envelope<'a>(body: &[u8], data: &'a [u8]) -> Envelope<'a> {
        Envelope {
            kind: Kind::Block,
            packing: Packing::Zstd,
            plain_bytes: body.len() as u32,
            id: PayloadFormat::Opaque.id(Kind::Block, body, &NETWORK.limits),
            data,
        }
    }

    fn open_on(network: &Network, envelope: Envelope<'_>) -> Result<Payload, BadEnvelope> {
        let packed = Message::Packed(envelope).to_payload(network, VERSION).unwrap();
        Opener::new().unwrap().open(network, &packed)
    }

    fn open(envelope: Envelope<'_>) -> Result<Payload, BadEnvelope> {
        open_on(&NETWORK, envelope)
    }

    #[test]
    fn what_was_packed_comes_out_with_its_id_and_its_envelope() {
        for length in [300, 5_000, ROOM_FIRST - 11, ROOM_FIRST, ROOM_FIRST + 1, 3_000_000] {
            let body = body(length);
            let data = zstd(&body);
            let envelope = envelope(&body, &data);
            let payload = open(envelope).unwrap();
            assert_eq!((payload.kind(), payload.body()), (Kind::Block, &body[..]));
            assert_eq!(payload, Payload::seal(&NETWORK, Kind::Block, &body).unwrap());
            let told = payload.packed().map(|packed| packed.envelope().unwrap());
            assert_eq!(told, Some((Kind::Block, envelope.id, length as u32)));
        }
    }

    #[test]
    fn a_stored_body_is_taken_as_it_is() {
        let body = body(500);
        let stored = Envelope { packing: Packing::Stored, ..envelope(&body, &body) };
        let payload = open(stored).unwrap();
        assert_eq!(payload.body(), body);
        assert!(payload.packed().is_none(), "it is longer than the plain one");
        for data in [&body[..499], &[&body[..], &[0]].concat()] {
            assert!(is_bad_head(open(Envelope { data, ..stored })));
        }
    }

    fn is_bad_head(opened: Result<Payload, BadEnvelope>) -> bool {
        matches!(opened, Err(BadEnvelope::Head(_)))
    }

    #[test]
    fn another_length_than_declared_is_refused_either_way() {
        let body = body(100_000);
        let data = zstd(&body);
        let most = NETWORK.limits.body_bytes_max(Kind::Block) as u32;
        for plain_bytes in [10_000, 99_999, 100_001, most] {
            let told = Envelope { plain_bytes, ..envelope(&body, &data) };
            assert_eq!(open(told), Err(BadEnvelope::Length(plain_bytes)));
        }
        for plain_bytes in [0, most + 1, u32::MAX] {
            assert!(is_bad_head(open(Envelope { plain_bytes, ..envelope(&body, &data) })));
        }
    }

    /// 64 MiB behind 6 kB: nothing is unpacked beyond what was declared.
    #[test]
    fn a_bomb_fills_no_more_than_was_declared() {
        let bomb = zstd(&vec![0; 64 << 20]);
        assert!(bomb.len() < 10_000);
        let mut opener = Opener::new().unwrap();
        for plain_bytes in [10, 100_000, 5_000_000] {
            let told = Envelope { plain_bytes, ..envelope(&[], &bomb) };
            assert_eq!(opener.unpack(&NETWORK, &told), Err(BadEnvelope::Length(plain_bytes)));
        }
    }

    #[test]
    fn what_is_cut_off_garbage_or_followed_by_bytes_is_refused() {
        let body = body(100_000);
        let data = zstd(&body);
        for cut in [0, 1, 4, data.len() / 2, data.len() - 1] {
            let told = Envelope { data: &data[..cut], ..envelope(&body, &data) };
            assert_eq!(open(told), Err(BadEnvelope::Broken), "{cut} bytes");
        }
        let told = Envelope { data: b"no frame of zstd at all", ..envelope(&body, &data) };
        assert_eq!(open(told), Err(BadEnvelope::Broken));
        for tail in [&b"x"[..], &zstd(b""), &zstd(b"more")] {
            let data = [&data, tail].concat();
            assert_eq!(open(envelope(&body, &data)), Err(BadEnvelope::Trailing));
        }
        // A frame that is to be skipped comes first: what follows it is not looked at.
        let skipped: Vec<u8> =
            [&0x184d_2a50_u32.to_le_bytes()[..], &4u32.to_le_bytes(), b"skip"].concat();
        let data = [&skipped[..], &data[..]].concat();
        assert_eq!(open(envelope(&body, &data)), Err(BadEnvelope::Length(100_000)));
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused_before_it_is_allocated() {
        let body = body(1_000);
        let packed_with = |window_log| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            // Without the length in its head a frame says how large its window is.
            encoder.set_parameter(CParameter::WindowLog(window_log)).unwrap();
            encoder.include_contentsize(false).unwrap();
            io::Write::write_all(&mut encoder, &body).unwrap();
            encoder.finish().unwrap()
        };
        assert!(open(envelope(&body, &packed_with(WINDOW_LOG_MAX))).is_ok());
        let data = packed_with(WINDOW_LOG_MAX + 1);
        assert_eq!(open(envelope(&body, &data)), Err(BadEnvelope::Broken));
    }

    #[test]
    fn another_id_is_refused() {
        let body = body(1_000);
        let data = zstd(&body);
        let told = Envelope { id: Hash([7; 32]), ..envelope(&body, &data) };
        assert_eq!(open(told), Err(BadEnvelope::Id));
        let told = Envelope { id: Hash::of(b"other"), ..told };
        assert_eq!(open(told), Err(BadEnvelope::Id));
    }

    /// Where the engine can read bodies, only canonical ones pass.
    #[test]
    fn a_body_that_may_not_be_relayed_is_refused() {
        let network = Network::GRIN_MAIN;
        let body = body(1_000);
        let data = zstd(&body);
        let id = network.format.id(Kind::Block, &body, &network.limits);
        let told = Envelope { id, ..envelope(&body, &data) };
        assert!(matches!(open_on(&network, told), Err(BadEnvelope::Body(_))));
    }

    #[test]
    fn one_opener_survives_what_it_refused() {
        let body = body(100_000);
        let data = zstd(&body);
        let network = NETWORK;
        let seal = |data: &[u8]| {
            Message::Packed(envelope(&body, data)).to_payload(&network, VERSION).unwrap()
        };
        let mut opener = Opener::new().unwrap();
        for cut in [data.len() / 2, data.len(), data.len() - 1, data.len()] {
            let opened = opener.open(&network, &seal(&data[..cut]));
            assert_eq!(opened.is_ok(), cut == data.len());
        }
    }
}
