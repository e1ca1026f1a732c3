//! Being told to stop: Ctrl-C, or SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Watches for signals on a thread of its own, for the rest of the process; true when one came.
pub(crate) fn watch() -> std::io::Result<Arc<AtomicBool>> {
    let told = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&told);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async move {
            loop {
                std::future::poll_fn(|cx| {
                    interrupt
                        .poll_recv(cx)
                        .map(drop)
                        .is_ready()
                        .then_some(())
                        .map_or_else(|| terminate.poll_recv(cx).map(drop), std::task::Poll::Ready)
                })
                .await;
                seen.store(true, Ordering::Relaxed);
            }
        });
    })?;
    Ok(told)
}
