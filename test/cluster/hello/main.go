// Command hello is what the scenarios on a cluster need beside the bot. Without
// arguments it answers every request at once, the baseline that the functions'
// cold and warm times are measured beside. With addresses as arguments it says
// of each whether a connection to it can be made.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		for _, address := range os.Args[1:] {
			c, err := net.DialTimeout("tcp", address, 3*time.Second) //nolint:noctx,gosec // bounded by itself; dialling what it is told is all that it does
			if err != nil {
				fmt.Println("closed", address)
				continue
			}
			_ = c.Close()
			fmt.Println("open", address)
		}
		return
	}
	server := &http.Server{
		Addr: ":" + os.Getenv("PORT"), ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello\n")) }),
	}
	if err := server.ListenAndServe(); err != nil {
		os.Exit(1)
	}
}
