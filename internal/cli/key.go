package cli

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock/penstock/internal/scale"
)

// keyCmd makes API keys for tenants.
type keyCmd struct {
	New  keyNewCmd  `cmd:"" help:"Make a key, and print it once with the line for the configuration file."`
	Hash keyHashCmd `cmd:"" help:"Print the line for a key that there is already, read from standard input."`
}

const keyPrefix = "pk_"

// hashedKey is what is printed as JSON.
type hashedKey struct {
	Key  string `json:"key,omitempty"`
	Hash string `json:"hash"`
}

// mask is a key as it may be shown.
func mask(key string) string { return keyPrefix + "…" + key[max(0, len(key)-4):] }

func hashKey(key string) string { return scale.KeyDigest(sha256.Sum256([]byte(key))).String() }

type keyNewCmd struct {
	JSON bool `help:"Print JSON."`
}

func (keyNewCmd) Help() string {
	return `The key is printed now and never again: the configuration file holds its digest only, under spec.tenants[].keys of the FleetPolicy.

Example:
  penstock key new`
}

func (c *keyNewCmd) Run(std Streams) error {
	key := keyPrefix + rand.Text() // 130 bits
	if c.JSON {
		return json.NewEncoder(std.Out).Encode(hashedKey{Key: key, Hash: hashKey(key)})
	}
	_, err := fmt.Fprintf(std.Out, "The key, which is shown only now:\n  %s\nThe line for spec.tenants[].keys of the FleetPolicy:\n  - %s  # %s\n", key, hashKey(key), mask(key))
	return err
}

type keyHashCmd struct {
	JSON bool `help:"Print JSON."`
}

func (keyHashCmd) Help() string {
	return `The key is one line of standard input, so that it stands in no list of processes and in no shell's history.

Example:
  penstock key hash < key.txt`
}

func (c *keyHashCmd) Run(std Streams) error {
	lines := bufio.NewScanner(std.In)
	lines.Scan()
	key := strings.TrimSpace(lines.Text())
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	if len(key) < 20 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return usageError{errors.New("no key on standard input: a key is one line of 20 characters or more, all of them printable ASCII without blanks")}
	}
	if c.JSON {
		return json.NewEncoder(std.Out).Encode(hashedKey{Hash: hashKey(key)})
	}
	_, err := fmt.Fprintf(std.Out, "  - %s  # %s\n", hashKey(key), mask(key))
	return err
}
