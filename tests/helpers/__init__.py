"""What tests are built from: real servers, a proxy that loses replies, a receiver, job bodies and the daemon itself."""
