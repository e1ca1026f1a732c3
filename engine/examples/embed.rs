//! The engine in a program of twenty lines: it listens, takes what peers send, and relays it.
//!
//! `cargo run -p molva --example embed [ADDR]` listens, and dials this peer. It ends when its
//! standard input does.

use std::time::Duration;

use molva::{Config, Engine, FromChain, Network, ToChain, Verdict};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::new(Network::DEV);
    config.listen = vec!["127.0.0.1:0".parse()?];
    for peer in std::env::args().skip(1) {
        config.peer.connect.push(peer.parse()?);
    }
    let (engine, mut chain) = Engine::start(config)?;
    println!("listening on {}", engine.handle().local_addrs()[0]);

    let backend = std::thread::Builder::new().name("backend".into()).spawn(move || {
        while let Ok(event) = chain.recv() {
            let answer = match event {
                // Nothing comes unasked between Molva nodes: say what you want of what there is.
                ToChain::Announced { kind, id, .. } => FromChain::Fetch { kind, id },
                ToChain::Payload { from, payload, .. } => {
                    println!("{:?} {} from {}", payload.kind(), payload.id(), from.addr);
                    // Relayed to all peers that lack it.
                    FromChain::Verdict { from, payload, verdict: Verdict::Accept }
                }
                _ => continue,
            };
            drop(chain.send(answer));
        }
    })?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    engine.shutdown(Duration::from_secs(2))?;
    backend.join().map_err(|_| "the backend panicked")?;
    Ok(())
}
