// Package authority makes the certificates with which caches prove to nodes who they are: a certificate authority for each
// Cluster, and server certificates signed by it. It knows no cluster, and is told the time.
//
//	ca, err := authority.New(now)
//	certificate, key, err := ca.Issue(authority.Names{DNS: names, Address: address}, now)
//	leaf, err := authority.ParsePair(certificate, key)
//	err = authority.Bundle{ca.Certificate}.Verify(leaf, names, now)
//
// All of the cryptography is Go's. Keys are of the curve P-256, which curl and containerd take everywhere, and names are short,
// because every byte of an authority is in the user data of every Machine.
package authority
