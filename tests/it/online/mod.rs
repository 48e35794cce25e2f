//! What needs the network once: the default model, and the packages of clients. `--skip online::`
//! leaves it out.

mod chat;
mod clients;
mod commands;
mod lifecycle;
mod reference;
