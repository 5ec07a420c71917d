// Package secrets reads what users put into Secrets of the management cluster: a Secret in, values that may be used out, or an
// error for the one who has to mend it. No error holds anything of a value, only the names of keys and what is wrong.
package secrets
