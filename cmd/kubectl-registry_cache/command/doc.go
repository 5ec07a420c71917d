// Package command has the commands of the plugin. What they find out is in other packages; here are flags, tables and exit codes.
package command
