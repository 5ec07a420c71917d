package main

import (
	"context"
	"fmt"
	"syscall"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Systemd is what node-sync needs of the node's service manager.
type Systemd interface {
	// Active tells whether a unit runs or is about to.
	Active(ctx context.Context, unit string) (bool, error)
	// Start enables a unit and starts it, again if it runs already. Unit files are read anew only if this one changed: that may take
	// devices from running containers (https://github.com/NVIDIA/nvidia-container-toolkit/issues/48).
	Start(ctx context.Context, unit string) error
	// Wake sends SIGHUP to the main process of a unit, if it has one.
	Wake(ctx context.Context, unit string) error
}

// SystemBus is systemd behind the node's system bus, whose socket has to be where D-Bus has it.
type SystemBus struct{}

// Active implements Systemd.
func (SystemBus) Active(ctx context.Context, unit string) (bool, error) {
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return false, fmt.Errorf("connecting to systemd: %w", err)
	}
	defer conn.Close()
	state, err := conn.GetUnitPropertyContext(ctx, unit, "ActiveState")
	if err != nil {
		return false, fmt.Errorf("looking at %s: %w", unit, err)
	}
	switch state.Value.Value() {
	case "active", "activating", "reloading":
		return true, nil
	}
	return false, nil
}

// Start implements Systemd. It does not wait: the unit's own start may take a minute.
func (SystemBus) Start(ctx context.Context, unit string) error {
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connecting to systemd: %w", err)
	}
	defer conn.Close()
	stale, err := isStale(ctx, conn, unit)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", unit, err)
	}
	if stale {
		if err := conn.ReloadContext(ctx); err != nil {
			return fmt.Errorf("letting systemd read its unit files: %w", err)
		}
	}
	// This is for the next boot, which reads all anew.
	if _, _, err := conn.EnableUnitFilesContext(ctx, []string{unit}, false, true); err != nil {
		return fmt.Errorf("enabling %s: %w", unit, err)
	}
	if _, err := conn.RestartUnitContext(ctx, unit, "replace", nil); err != nil {
		return fmt.Errorf("starting %s: %w", unit, err)
	}
	return nil
}

// isStale tells whether systemd knows another unit than its file has now, or none.
func isStale(ctx context.Context, conn *dbus.Conn, unit string) (bool, error) {
	state, err := conn.GetUnitPropertyContext(ctx, unit, "LoadState")
	if err != nil {
		return false, err
	}
	changed, err := conn.GetUnitPropertyContext(ctx, unit, "NeedDaemonReload")
	if err != nil {
		return false, err
	}
	return state.Value.Value() != "loaded" || changed.Value.Value() == true, nil
}

// Wake implements Systemd.
func (SystemBus) Wake(ctx context.Context, unit string) error {
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connecting to systemd: %w", err)
	}
	defer conn.Close()
	if err := conn.KillUnitWithTarget(ctx, unit, dbus.Main, int32(syscall.SIGHUP)); err != nil {
		return fmt.Errorf("waking %s: %w", unit, err)
	}
	return nil
}
