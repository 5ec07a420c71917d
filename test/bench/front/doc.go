// Package front is an upstream registry's front door that counts what goes through it and that can be broken on purpose.
//
// A Front listens wherever Options.Listen does, so that the caller decides on address and network namespace, and hands
// requests to a handler: a real registry behind a reverse proxy (Registry), generated content that needs no disk
// (Library), or one after the other. Set switches a Fault on or off at run time; Counts tells how many requests and bytes
// of content each blob and manifest cost.
//
// Trade-offs: bytes are counted when they are handed to the kernel, so what a client never read counts too. The faults
// of answers take effect with the next request; answers that have begun go on as they began. Latency is added by the
// program, because the kernel of a test machine need not have netem: one round trip before the first byte is read from a
// new connection, and one before each answer.
package front
