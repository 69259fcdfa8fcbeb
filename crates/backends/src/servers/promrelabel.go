// Prometheus's own relabeling, as an oracle: reads cases of rules and label sets, prints what Prometheus makes of them.
//
//	promrelabel FILE
//
// FILE holds {"rules": [..], "series": [{name: value, ..}, ..]} one a line. For each a line is printed: {"series": [..]} with
// null for a series that was dropped, or {"error": ".."} if Prometheus refuses the rules. With a case {"letters": "lower"} or
// "upper" every character is printed whose other case is another single character: {"letters": [[from, to], ..]}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v2"
)

type testCase struct {
	Rules   json.RawMessage     `json:"rules"`
	Series  []map[string]string `json:"series"`
	Letters string              `json:"letters"`
}

type result struct {
	Series  []map[string]string `json:"series,omitempty"`
	Letters [][2]int32          `json:"letters,omitempty"`
	Error   string              `json:"error,omitempty"`
}

// As the configuration file is read: JSON is YAML, so defaults and checks are Prometheus's own.
func parse(rules []byte) ([]*relabel.Config, error) {
	var configs []*relabel.Config
	if err := yaml.UnmarshalStrict(rules, &configs); err != nil {
		return nil, err
	}
	for _, config := range configs {
		if err := config.Validate(model.UTF8Validation); err != nil {
			return nil, err
		}
	}
	return configs, nil
}

func (c testCase) run() (out result) {
	if c.Letters != "" {
		change := strings.ToLower
		if c.Letters == "upper" {
			change = strings.ToUpper
		}
		for letter := rune(0); letter <= 0x10ffff; letter++ {
			changed := []rune(change(string(letter)))
			if len(changed) == 1 && changed[0] != letter && (letter < 0xd800 || letter > 0xdfff) {
				out.Letters = append(out.Letters, [2]int32{letter, changed[0]})
			}
		}
		return out
	}
	configs, err := parse(c.Rules)
	if err != nil {
		return result{Error: err.Error()}
	}
	for _, series := range c.Series {
		builder := labels.NewBuilder(labels.FromMap(series))
		if !relabel.ProcessBuilder(builder, configs...) {
			out.Series = append(out.Series, nil)
			continue
		}
		out.Series = append(out.Series, builder.Labels().Map())
	}
	return out
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	file, err := os.Open(os.Args[1])
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	for lines.Scan() {
		var c testCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		printed, err := json.Marshal(c.run())
		if err != nil {
			return err
		}
		out.Write(printed)
		out.WriteByte('\n')
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return out.Flush()
}
