// Runs the commands of `kubectl exec` in containers that are processes of this machine, by the protocol of a kubelet.
//
//	exec ADDRESS CERTIFICATE KEY CLIENT_AUTHORITY FOLDER
//
// In: requests of an API server, which shows a certificate; FOLDER/NAMESPACE.POD/CONTAINER.exec.json, which says how a command gets
// into a container, and with which variables. Out: the command's streams and exit code. Never: a terminal, or any other route of a kubelet.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/exec"
)

const (
	idleMax     = time.Hour
	creationMax = 30 * time.Second
)

// How a command gets into a container.
type entrance struct {
	Command   []string `json:"command"`
	Variables []string `json:"variables"`
}

func (it entrance) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, err io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	words := append(it.Command[:len(it.Command):len(it.Command)], command...)
	process := osexec.CommandContext(ctx, words[0], words[1:]...)
	process.Env, process.Stdin = it.Variables, in
	if out != nil {
		process.Stdout = out
	}
	if err != nil {
		process.Stderr = err
	}
	failed := process.Run()
	var exited *osexec.ExitError
	if errors.As(failed, &exited) {
		return exec.CodeExitError{Err: failed, Code: exited.ExitCode()}
	}
	return failed
}

func main() {
	address, certificate, key, authority, folder := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	trusted := x509.NewCertPool()
	if text, err := os.ReadFile(authority); err != nil || !trusted.AppendCertsFromPEM(text) {
		log.Fatalf("%s: no authority: %v", authority, err)
	}
	routes := http.NewServeMux()
	routes.HandleFunc("/exec/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		namespace, pod, container := r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")
		var it entrance
		text, err := os.ReadFile(filepath.Join(folder, namespace+"."+pod, container+".exec.json"))
		if err == nil {
			err = json.Unmarshal(text, &it)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remotecommand.ServeExec(w, r, it, pod, "", container, r.Form["command"], options, idleMax, creationMax, remotecommand.SupportedStreamingProtocols)
	})
	server := http.Server{
		Addr: address, Handler: routes,
		TLSConfig:    &tls.Config{ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // SPDY takes over the connection, which HTTP/2 has none of.
	}
	log.Fatal(server.ListenAndServeTLS(certificate, key))
}
