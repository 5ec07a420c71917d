// Package doctor walks from a RegistryCache to a pull on a node, link by link in the order in which one depends on the other, and stops at
// the first that is broken: what comes after it could only tell of the same trouble in other words. Each link says what it found, and
// a broken one what to do.
//
// It reads with the rights of who runs it. A link that may not be looked at is told as not checked, with the right that is missing, and the
// walk goes on. It writes nothing but for two things: a Secret in a dry run, which shows whether bootstrap data gets the caches and is kept
// by nobody, and the Pod of a pull that the user asked for, which is removed again.
//
// A link is a function of its own, so a new one is a function and a line in chain.
package doctor
