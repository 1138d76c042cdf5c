// Command probe is the smallest thing that shows whether a cluster's network
// works, from a pod or from the host:
//
//	probe serve :8080                       answers each request with the host's name
//	probe get http://web:8080/ SECONDS      prints the answer, trying until the time is up
//	probe resolve NAME SECONDS [SERVER:53]  prints the addresses, trying until the time is up
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error: probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 3 && args[0] == "get":
		return retry(args[2], func(ctx context.Context) (string, error) { return get(ctx, args[1]) })
	case (len(args) == 3 || len(args) == 4) && args[0] == "resolve":
		server := strings.Join(args[3:], "")
		return retry(args[2], func(ctx context.Context) (string, error) { return resolve(ctx, args[1], server) })
	}
	return errors.New("usage: probe serve ADDRESS | get URL SECONDS | resolve NAME SECONDS [SERVER:PORT]")
}

func serve(address string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{
		Addr:              address,
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, name)
		}),
	}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// retry asks again, twice a second, until an answer comes or the time is up.
func retry(seconds string, ask func(context.Context) (string, error)) error {
	limit, err := strconv.Atoi(seconds)
	if err != nil {
		return fmt.Errorf("%q is no number of seconds", seconds)
	}
	for deadline := time.Now().Add(time.Duration(limit) * time.Second); ; time.Sleep(500 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		answer, err := ask(ctx)
		cancel()
		if err == nil {
			fmt.Println(strings.TrimSpace(answer))
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer in %d s: %w", limit, err)
		}
	}
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	// A connection of its own each time: kept ones would stay on one endpoint.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(body), err
}

func resolve(ctx context.Context, name, server string) (string, error) {
	resolver := &net.Resolver{PreferGo: true}
	if server != "" {
		resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server)
		}
	}
	addresses, err := resolver.LookupHost(ctx, name)
	return strings.Join(addresses, " "), err
}
