// Command idle waits to be told to end. It is what fixture images run, and what holds the address of an upstream
// registry while its servers are stopped.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	<-told
}
