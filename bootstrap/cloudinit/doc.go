// Package cloudinit puts files and one command into a cloud-config document.
//
// The document is never encoded again: our entries are spliced in as text, at the head of the lists write_files and runcmd,
// and every foreign byte stays. yaml.v3 only tells the lines, and afterwards proves the result: the foreign part of both
// documents must be equal in value and order, and ours must be there exactly once (I4). Where that cannot be shown the
// document is refused, and the caller passes it through.
//
// Entries stand first, not last, because the start of a list is known for certain, whereas the end of a block scalar depends
// on the blank lines behind it; and because the command has to run before those that start kubelet.
//
// The form suits cloud-init itself and Cluster API's Docker provider, which reads user data line by line: keys in
// block style in the first column, write_files before runcmd, lines below 64 KiB, base64 without gzip. Base64 also keeps
// our content apart from the Jinja templates that most bootstrap providers announce.
package cloudinit
