//! A chain of its own on the `Opaque` format: its blocks and transactions are bytes that the engine
//! never reads, and their ids are the BLAKE2b-256 of them.
//!
//! Two engines in one process: one publishes a block, the other judges it; then one begins the stem
//! of a transaction, whose origin is hidden until it becomes public at both. `cargo run -p molva
//! --example custom_chain`

use std::time::Duration;

use molva::{
    ChainSide, Config, Engine, FromChain, Hash, Kind, Limits, Locality, Network, Payload,
    PayloadFormat, ToChain, Verdict,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How often both may look for events until something has happened: a minute or two.
const TURNS_MAX: u32 = 10_000;

/// How long one waits for an event.
const PATIENCE: Duration = Duration::from_millis(5);

/// What makes this network different from all others.
fn network() -> Network {
    Network {
        name: "counting",
        magic: *b"cn",
        genesis: Hash::of(b"the chain that counts"),
        port: 4_321,
        limits: Limits::MAINNET,
        format: PayloadFormat::Opaque,
        nrd_kernels: false,
    }
}

/// A block of this chain is a number, and valid if it is the next.
fn block(number: u64) -> Outcome<Payload> {
    Ok(Payload::seal(&network(), Kind::Block, &number.to_be_bytes())?)
}

/// A transaction of it is any text that is not empty.
fn transaction(text: &str) -> Outcome<Payload> {
    Ok(Payload::seal(&network(), Kind::StemTransaction, text.as_bytes())?)
}

/// An engine, and the chain behind it.
struct Node {
    name: &'static str,
    engine: Engine,
    chain: ChainSide,
    height: u64,
    pool: Vec<Vec<u8>>,
}

impl Node {
    fn start(name: &'static str, peers: &[std::net::SocketAddr]) -> Outcome<Self> {
        let mut config = Config::new(network());
        config.listen = vec!["127.0.0.1:0".parse()?];
        config.peer.connect = peers.to_vec();
        config.peer.locality = Locality::Local;
        config.connections_max = 100;
        let (engine, chain) = Engine::start(config)?;
        Ok(Self { name, engine, chain, height: 0, pool: Vec::new() })
    }

    /// Judges what comes, for a moment.
    fn turn(&mut self) -> Outcome<()> {
        let mut events = Vec::new();
        self.chain.recv_batch(&mut events, 64, PATIENCE)?;
        for event in events {
            match event {
                ToChain::Payload { from, payload, .. } => {
                    let verdict = self.judge(&payload);
                    println!("{}: {:?} {}: {verdict:?}", self.name, payload.kind(), payload.id());
                    self.chain.send(FromChain::Verdict { from, payload, verdict })?;
                }
                // Texts and numbers are asked for from whoever has them.
                ToChain::Announced { kind, id, .. } => {
                    self.chain.send(FromChain::Fetch { kind, id })?;
                }
                ToChain::Fluffed { payload } => self.keep(&payload),
                // Texts do not aggregate.
                ToChain::Aggregate { batch, .. } => {
                    self.chain.send(FromChain::Aggregated { batch, payload: None })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn judge(&mut self, payload: &Payload) -> Verdict {
        match payload.kind() {
            Kind::Block if payload.body() == (self.height + 1).to_be_bytes() => {
                self.height += 1;
                Verdict::Accept
            }
            Kind::Block => Verdict::Invalid,
            Kind::Transaction | Kind::StemTransaction if payload.body().is_empty() => {
                Verdict::Invalid
            }
            Kind::Transaction => {
                self.keep(payload);
                Verdict::Accept
            }
            // It is valid, and nobody's business before it is public.
            Kind::StemTransaction => Verdict::Accept,
            _ => Verdict::Keep,
        }
    }

    /// A public transaction.
    fn keep(&mut self, payload: &Payload) {
        if self.pool.iter().all(|body| body != payload.body()) {
            println!("{}: in the pool: {}", self.name, String::from_utf8_lossy(payload.body()));
            self.pool.push(payload.body().to_vec());
        }
    }
}

/// Lets both judge until it is so.
fn until(one: &mut Node, other: &mut Node, is_so: impl Fn(&Node, &Node) -> bool) -> Outcome<()> {
    for _ in 0..TURNS_MAX {
        if is_so(one, other) {
            return Ok(());
        }
        one.turn()?;
        other.turn()?;
    }
    Err("it took too long".into())
}

fn main() -> Outcome<()> {
    let mut one = Node::start("one", &[])?;
    let mut other = Node::start("other", one.engine.handle().local_addrs())?;
    let has_peer = |node: &Node| {
        let metrics = node.engine.handle().metrics();
        metrics.peers_inbound + metrics.peers_outbound > 0
    };
    until(&mut one, &mut other, |one, other| has_peer(one) && has_peer(other))?;

    one.height += 1;
    one.chain.publish(block(1)?)?;
    until(&mut one, &mut other, |_, other| other.height == 1)?;

    other.chain.send(FromChain::Stem(transaction("a rumour")?))?;
    until(&mut one, &mut other, |one, other| one.pool.len() + other.pool.len() == 2)?;

    one.engine.shutdown(Duration::from_secs(2))?;
    other.engine.shutdown(Duration::from_secs(2))?;
    println!("both have block 1 and the rumour");
    Ok(())
}
