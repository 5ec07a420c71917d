// Command nodesync keeps the desired state of design section 4 on a node that exists already, from a Pod of a DaemonSet.
//
// It writes the files that bootstrap data writes on new Machines, so both find nothing to do after the other. The systemd unit
// stays the only one that probes caches and writes hosts.toml; this program installs it, starts it over D-Bus, and tells from the
// unit's own state file whether it has taken over. On removal the unit clears the node itself, as it knows best what it changed.
//
// The Pod needs no privilege: it runs as root without capabilities, because root owns the files, and sees only the directories
// that it writes to, the unit's state and the system bus. It has no credentials of the API server. What it finds, the kubelet's probes
// and the controller read over HTTP:
//
//	/startz  200 once the unit has taken over this generation; from then on the container counts as started
//	/readyz  200 while the node is configured without trouble
//	/report  the Report, as JSON
//	/metrics the same as metrics, for Prometheus
package main
