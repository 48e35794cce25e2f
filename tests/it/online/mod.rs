//! What needs the network once: the default model, and the packages of clients. `--skip online::`
//! leaves it out.

mod agents;
mod chat;
mod clients;
mod commands;
mod environment;
mod lifecycle;
mod page;
mod reference;
