package gateway

import (
	"net/http"
	"os"
	"testing"
)

// TestTokensOfLlamaCppAreCounted holds the meter against streams of six tokens
// that a llama-server, build 10434, was asked for without stream_options: its
// chat stream then tells its tokens in "timings" alone.
func TestTokensOfLlamaCppAreCounted(t *testing.T) {
	for path, file := range map[string]string{
		"/v1/chat/completions": "testdata/llamacpp-b10434-chat.sse",
		"/v1/completions":      "testdata/llamacpp-b10434-completion.sse",
		"/v1/responses":        "testdata/llamacpp-b10434-responses.sse",
	} {
		t.Run(path, func(t *testing.T) {
			stream, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m := newMeter(openAI(path), &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}}, new(buffer))
			for _, b := range stream {
				m.see([]byte{b})
			}
			if got := m.tokens(); got != 6 || !m.done {
				t.Errorf("%d tokens, whole %v, should be 6 and whole", got, m.done)
			}
		})
	}
}
