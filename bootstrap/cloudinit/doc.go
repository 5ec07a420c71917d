// Package cloudinit puts files and one command into user data for cloud-init, in whatever form it comes: cloud-config with or
// without Jinja, scripts and cloud-init's other first words, MIME messages, and gzip around any of these.
//
// Nothing foreign is ever encoded again. A cloud-config document stays one, as infrastructure providers other than cloud-init
// read it as YAML: our entries are spliced in as text, at the head of the lists write_files and runcmd. yaml.v3 only tells the
// lines, and afterwards proves the result: the foreign part of both documents must be equal in value and order, and ours must
// be there exactly once (I4). Where that cannot be shown the data is refused, and the caller passes it through. Entries stand
// first, not last, because the start of a list is known for certain, whereas the end of a block scalar depends on the blank
// lines behind it; and because the command has to run before those that start kubelet.
//
// # Jinja
//
// cloud-init renders a Jinja document before it reads it. Ours is a document as written and as rendered only if both are the
// same tree, whatever the values are. So it is read a second time with a word in place of all that Jinja replaces, drops,
// repeats or moves. Where the trees differ, or the text is no YAML yet, no reader but cloud-init could have used it, and it
// goes into a MIME message.
//
// # MIME
//
// What takes in no entries becomes the first part of a message, byte for byte, as text/plain: cloud-init then looks at its
// first word, as it does without a message. A message of parts keeps them, their boundary and everything around them; ours is
// put in before the closing line. Both texts are read with mime/multipart and must show the same parts (I4).
//
// Our part is a shell script named 0-capi-registry-cache. cloud-init writes scripts and runcmd into one directory and runs
// them once, in the order of their names, in its last stage: ours before runcmd and before part-001. Hence it runs where the
// runcmd of a document would, after everything is mounted and containerd is up, and its start of the unit can be waited for.
// The order of the parts does not matter to that, and as the last one ours leaves the numbers, hence the file names, of the
// others as they were. The alternatives are worse: a boothook runs at every boot and before sysinit.target, where waiting for
// a unit that comes after containerd never ends; a cloud-config part replaces the lists of the others unless its way of
// merging, which theirs may set too, appends. What a user's part does earlier than the last stage, in boothooks, bootcmd or
// scripts per boot, instance and once, is done before ours.
//
// # Size
//
// User data is limited to 16 KiB on some clouds. All files travel as one archive: a shell script that writes them, compressed.
// Nodes need sh, gzip and, for the script, base64. Encoding the entry as gzip+base64 would do without, but Cluster API's
// Docker provider does not decompress it; base64 alone it reads, as long as keys are in block style in the first column,
// write_files before runcmd, and lines below 64 KiB. Base64 also keeps our content apart from Jinja.
//
// The tests hold the results against cloud-init's own code where CLOUD_INIT_PATH names it: testdata/get-cloud-init.sh.
package cloudinit
