//! A peer that is nothing but a blocking socket. It writes and reads frames by the protocol's text
//! alone, so that a mistake of the codec does not cancel out.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use molva::{ChainSide, FromChain, Network, Payload, ToChain};

/// Nothing here takes this long, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SHAKE: u8 = 2;
pub(crate) const PING: u8 = 3;
pub(crate) const PONG: u8 = 4;
pub(crate) const TRANSACTION: u8 = 15;

/// The remote's end of a connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    network: Network,
}

impl Client {
    /// Connected, and not greeted.
    pub(crate) fn connect(addr: SocketAddr, network: &Network) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, network: network.clone() }
    }

    /// Connected, with the handshake done.
    pub(crate) fn greet(addr: SocketAddr, network: &Network) -> Self {
        let mut client = Self::connect(addr, network);
        let hand = hand(network, b"test");
        client.stream.write_all(&hand).unwrap();
        assert_eq!(client.read().unwrap().0, SHAKE);
        client
    }

    pub(crate) fn send(&mut self, kind: u8, body: &[u8]) {
        self.stream.write_all(&frame(&self.network, kind, body)).unwrap();
    }

    /// The next frame: its kind and its body.
    pub(crate) fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 11];
        self.stream.read_exact(&mut header)?;
        assert_eq!(header[..2], self.network.magic);
        let mut body = vec![0; u64::from_be_bytes(header[3..].try_into().unwrap()) as usize];
        self.stream.read_exact(&mut body)?;
        Ok((header[2], body))
    }

    /// How long a ping takes to be answered.
    pub(crate) fn ping(&mut self) -> Duration {
        let clock = Instant::now();
        self.send(PING, &[0; 16]);
        while self.read().unwrap().0 != PONG {}
        clock.elapsed()
    }
}

/// Magic, kind, length, body.
pub(crate) fn frame(network: &Network, kind: u8, body: &[u8]) -> Vec<u8> {
    [&network.magic[..], &[kind], &(body.len() as u64).to_be_bytes(), body].concat()
}

/// A whole Hand of a peer with this user agent.
pub(crate) fn hand(network: &Network, user_agent: &[u8]) -> Vec<u8> {
    let addr = [0, 127, 0, 0, 1, 0, 99];
    let body = [
        &1000u32.to_be_bytes()[..], // version
        &7u32.to_be_bytes(),        // capabilities
        &1u64.to_be_bytes(),        // nonce
        &1u64.to_be_bytes(),        // total difficulty
        &addr,                      // sender
        &addr,                      // receiver
        &(user_agent.len() as u64).to_be_bytes(),
        user_agent,
        &network.genesis.0,
    ];
    frame(network, 1, &body.concat())
}

/// The next payload that the engine hands to the chain, which wants all that is announced.
pub(crate) fn next_payload(chain: &mut ChainSide) -> Payload {
    loop {
        match chain.recv_timeout(PATIENCE).unwrap().expect("a payload in time") {
            ToChain::Payload { payload, .. } => return payload,
            ToChain::Announced { kind, id, .. } => {
                chain.send(FromChain::Fetch { kind, id }).unwrap();
            }
            _ => {}
        }
    }
}
