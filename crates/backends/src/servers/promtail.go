// Promtail of the packages that Loki's module has: its own main was taken out of the module in 3.7.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v2"

	"github.com/grafana/loki/v3/clients/pkg/promtail"
	"github.com/grafana/loki/v3/clients/pkg/promtail/client"
	"github.com/grafana/loki/v3/clients/pkg/promtail/config"
	"github.com/grafana/loki/v3/pkg/util/log"
)

func run(file string) error {
	var settings config.Config
	settings.RegisterFlags(flag.NewFlagSet("defaults", flag.ContinueOnError))
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, &settings); err != nil {
		return err
	}
	log.InitLogger(&settings.ServerConfig.Config, prometheus.DefaultRegisterer, false)
	tail, err := promtail.New(settings, nil, client.NewMetrics(prometheus.DefaultRegisterer), false)
	if err != nil {
		return err
	}
	defer tail.Shutdown()
	return tail.Run()
}

func main() {
	file := flag.String("config.file", "promtail.yaml", "the configuration")
	flag.Parse()
	if err := run(*file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
