package cli

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

// What must stay on the wire, each with a marker of its own.
const (
	markPrompt     = "CANARYPROMPT7f3a"
	markCompletion = "CANARYCOMPLETION91bd"
	markKey        = "pk_CANARYKEY5d20CANARYKEY5d20"
	markFileKey    = "pk_CANARYFILEKEY8e11CANARYFILEKEY"
	markWrongKey   = "CANARYWRONGKEY44c6CANARYWRONGKEY"
	markURL        = "CANARYURL6b9e"    // in the paths that Penstock asks replicas at
	markQuery      = "CANARYQUERY2c77"  // in the client's query, which the replica's URL has, too
	markHeader     = "CANARYHEADER0fd8" // in a header that goes through
	markPath       = "CANARYPATH31ae"
)

func marks() []string {
	return []string{markPrompt, markCompletion, markKey, markFileKey, markWrongKey, markURL, markQuery, markHeader, markPath, "CANARY"}
}

// leakyEngine is a model server that says what it should not, in every way that
// a proxy could pick up. The prompt says how it misbehaves. What it saw it
// appends to a file, by which the test knows that the markers were there.
func leakyEngine(args []string) int {
	flags := flag.NewFlagSet("leaky", flag.ExitOnError)
	port := flags.Int("port", 0, "")
	seen := flags.String("seen", "", "")
	never := flags.Bool("never", false, "")
	gpu := flags.Int("gpu", 0, "") // each replica's metrics are bad in another way
	_ = flags.Parse(args)
	note, err := os.OpenFile(*seen, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 1
	}
	var scrapes atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(note, r.RequestURI)
		if *never {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(note, r.RequestURI)
		switch {
		case scrapes.Add(1) == 1:
			io.WriteString(w, "# HELP vllm:num_requests_running "+markCompletion+"\nvllm:num_requests_running{model_name=\"leaky\",prompt=\""+markCompletion+"\"} 1\n")
		case *gpu == 0:
			io.WriteString(w, markCompletion+"{{{ is no metric\n")
		case *gpu == 1:
			raw(w, "HTTP/1.1 "+markCompletion+"\r\n\r\n")
		case *gpu == 2:
			http.Redirect(w, r, "http://"+markCompletion+"/", http.StatusFound)
		default:
			http.Error(w, markCompletion, http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintln(note, r.RequestURI, r.Header, string(body))
		misbehave(w, string(body))
	})
	if err := http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", *port), mux); err != nil {
		return 1
	}
	return 0
}

// misbehave answers as the prompt asks for.
func misbehave(w http.ResponseWriter, body string) {
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"" + markCompletion + "\"}}]}\n\n"
	how := ""
	for _, way := range []string{"error", "unavailable", "cut", "close", "garbage", "header", "status", "length", "chunk", "nodone", "switch"} {
		if strings.Contains(body, "way="+way+" ") {
			how = way
		}
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	switch how {
	case "error":
		http.Error(w, `{"error":{"message":"`+markCompletion+`"}}`, http.StatusInternalServerError)
	case "unavailable":
		w.Header().Set("Retry-After", markCompletion)
		http.Error(w, markCompletion, http.StatusServiceUnavailable)
	case "cut":
		raw(w, head+"Transfer-Encoding: chunked\r\n\r\n"+fmt.Sprintf("%x\r\n%s\r\n", len(event), event))
	case "close":
		raw(w, "")
	case "garbage":
		raw(w, markCompletion+" is no HTTP\r\n\r\n")
	case "header":
		raw(w, "HTTP/1.1 200 OK\r\n"+markCompletion+" is no header\r\n\r\n")
	case "status":
		raw(w, "HTTP/1.1 "+markCompletion+"\r\n\r\n")
	case "length":
		raw(w, head+"Content-Length: "+markCompletion+"\r\n\r\n")
	case "chunk":
		raw(w, head+"Transfer-Encoding: chunked\r\n\r\n"+markCompletion+"\r\n")
	case "switch":
		raw(w, "HTTP/1.1 101 "+markCompletion+"\r\nUpgrade: "+markCompletion+"\r\n\r\n")
	case "nodone":
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, event)
	default:
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Engine-Says", markCompletion)
		io.WriteString(w, event+"data: [DONE]\n\n")
	}
}

// raw writes bytes in place of a reply, and closes.
func raw(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	out := bufio.NewWriter(conn)
	out.WriteString(text)
	out.Flush()
}
