//! Claims about the transport, over real sockets.
