// Package variable reads the variable of a Cluster's topology that asks for registry caches, and says what is wrong with one.
//
// Usage: New once, which compiles the schema; Of to find the value in a Cluster; Parse to get the spec that it means.
//
// A value is the spec of a RegistryCache, with the same fields, defaults and rules. Parse judges it by the schema of the CRD that this
// build carries and with the libraries of the API server, so it says what the API server would say of a new RegistryCache, without a
// request, and what only an admission webhook of Cluster API would say otherwise: which fields are unknown. Rules about a change, such as
// that a volume cannot shrink, need the RegistryCache as it is; they are left to the API server.
//
// Messages name the field where the user wrote it, in the Cluster. A value that is quoted may be a URL with a password in it, which
// is not accepted but must not be spread either (I7): user info is struck out.
package variable
