package v1alpha1

// AuthorityName returns the name of the Secret, in the namespace of a Cluster, with the authority that signs the certificates of its caches:
// tls.crt and tls.key are those of the authority, ca.crt is what nodes trust.
func AuthorityName(cluster string) string { return cluster + "-registry-cache-ca" }
