// Command kube-controller-manager is the upstream controller manager,
// unchanged: garbage collection, namespace deletion, default ServiceAccounts.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	// Registers the request counters of client-go, which /metrics then serves.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	os.Exit(cli.Run(app.NewControllerManagerCommand()))
}
