//! Whole nodes, as processes of their own, over real sockets.

mod alone;
mod killed;
mod network;
mod support;
