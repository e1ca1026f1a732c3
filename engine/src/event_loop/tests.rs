//! The loop against a scripted kernel.
