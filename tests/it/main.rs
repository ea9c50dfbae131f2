//! The local API over real sockets: one binary, a file per resource.
//! In: a served router. Out: what a client sees, to the letter. Never: a look behind the socket.

mod bodies;
mod claims;
mod document;
mod events;
mod locks;
mod paths;
mod protocol;
mod refuser;
mod support;
mod surveys;
