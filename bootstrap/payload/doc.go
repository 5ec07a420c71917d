// Package payload is what a node gets: the node script, its systemd unit, and the desired state they work from.
//
// Files turns Values into files with absolute node paths. How they reach the node (cloud-config, Ignition, a Secret that a
// bootstrap template names, the node-sync DaemonSet) is not known here, so every way writes the same bytes.
//
// The script is a shell file of its own, tested as itself. Comment and blank lines are left out when it is rendered:
// user data is limited to 16 KiB on some clouds.
package payload
