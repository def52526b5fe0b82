package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock/penstock/internal/config"
)

const leastToken = 16 // characters: fewer can be guessed

// consoleToken reads the token that the console asks for; "" where it asks for
// none. The file that serve keeps by default is written at the first start.
func consoleToken(s config.Server) (string, error) {
	return keptToken(s.ConsoleToken, filepath.Join(s.StateDir, "console.token"))
}

// keptToken reads a token, which is made at the first start where it is serve's
// own to keep. There is none in no file.
func keptToken(path, own string) (string, error) {
	if path == "" {
		return "", nil
	}
	token, err := readToken(path)
	if errors.Is(err, fs.ErrNotExist) && path == own {
		return makeToken(path)
	}
	return token, err
}

func readToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < leastToken || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("read the token: %s holds %d characters; write one word of %d or more into it", path, len(token), leastToken)
	}
	return token, nil
}

// makeToken writes a new token where only this user can read it.
func makeToken(path string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("write the token: %w", err)
	}
	token := rand.Text()
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the token: %w", err)
	}
	return token, nil
}
