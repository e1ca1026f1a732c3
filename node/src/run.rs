//! `node run`: the engine, the backend's thread and the operator's socket, until a signal comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use molva::{Engine, EngineEnd};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::backend::{Backend, BackendEnd};
use crate::chain::Chain;
use crate::config::{self, File};
use crate::control;
use crate::flags::Run;
use crate::say::{Said, Tip, say};

/// How long the goodbyes to the peers may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// How often it is looked whether a signal came.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Runs until a signal, or until the engine or the store fails.
pub(crate) fn run(flags: &Run) -> Result<(), String> {
    let told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Whoever says it twice does not want to wait.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&told_to_end))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&told_to_end)))
            .map_err(|error| error.to_string())?;
    }
    let file = match &flags.config {
        Some(path) => config::read(path)?,
        None => File::default(),
    };
    let settings = file.settings(flags);
    let chain = Chain::open(&settings.data, settings.chain).map_err(|error| error.to_string())?;
    let name = chain.name();
    let commands = control::listen(&settings.data)?;
    let tip = Tip::from(&chain.tip());
    let config = file.engine(flags, name, &settings.data);
    let (engine, side) = Engine::start(config).map_err(|error| error.to_string())?;
    let handle = engine.handle();
    for notice in handle.store_notices() {
        eprintln!("node: {notice}");
    }
    let backend = Backend::new(side, chain, settings.mempool, commands);
    let thread = std::thread::Builder::new()
        .name("chain".into())
        .spawn(move || backend.run())
        .map_err(|error| error.to_string())?;
    say(&Said::Listening { addrs: handle.local_addrs().to_vec(), chain: name.name() });
    say(&Said::Tip(tip));
    while !told_to_end.load(Ordering::Relaxed) && !thread.is_finished() {
        std::thread::sleep(LOOK_PERIOD);
    }
    let end = engine.shutdown(GOODBYE);
    match thread.join() {
        Ok(BackendEnd::Engine(EngineEnd::Stopped)) => end.map_err(|end| end.to_string()),
        Ok(end) => Err(end.to_string()),
        Err(_) => Err("the chain's thread panicked".to_owned()),
    }
}
