//! Engines of one process, how they meet and how they part.

use std::time::{Duration, Instant};

use molva::{Engine, Handle};

/// Time for the goodbyes of all engines.
const GOODBYE: Duration = Duration::from_secs(5);

/// How often to look whether they have met.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until each engine has as many peers as it is to have, at most this long for all.
pub(super) fn await_peers(
    engines: impl IntoIterator<Item = (Handle, usize)>,
    patience: Duration,
) -> Result<(), String> {
    let limit = Instant::now() + patience;
    for (handle, wanted) in engines {
        loop {
            let metrics = handle.metrics();
            let peers = metrics.peers_inbound + metrics.peers_outbound;
            if peers as usize >= wanted {
                break;
            }
            if Instant::now() > limit {
                return Err(format!("an engine has {peers} of its {wanted} peers"));
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// All at once, since they say goodbye to each other; what went wrong.
pub(super) fn end(engines: impl IntoIterator<Item = Engine>) -> Vec<String> {
    std::thread::scope(|scope| {
        let spawn = |engine: Engine| scope.spawn(|| engine.shutdown(GOODBYE));
        let threads: Vec<_> = engines.into_iter().map(spawn).collect();
        let ends = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
        ends.filter_map(Result::err).map(|end| format!("an engine ended: {end}")).collect()
    })
}
