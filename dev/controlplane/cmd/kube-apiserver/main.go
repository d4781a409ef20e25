// Command kube-apiserver is the upstream apiserver, unchanged.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	// Registers the request counters of client-go, which /metrics then serves.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
