// Package bootstrap puts the node payload into bootstrap data: bytes in, bytes out.
//
// The format is recognised from the data; the hint, which not every bootstrap provider gives, only names what is not
// recognised. What is not understood, and what cannot be shown to survive the change, is passed through unchanged with the
// reason: a cache must never stop a Machine from booting (I1).
package bootstrap
