package emulator

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/penstock/penstock/internal/engine"
)

// answer serves one completion, streamed or whole.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, form api) {
	arrived := time.Now()
	if !s.core.loaded.Load() {
		refuse(w, &fault{status: http.StatusServiceUnavailable, message: "the model is loading"})
		return
	}
	req, err := parse(http.MaxBytesReader(w, r.Body, maxBody), form)
	if err == nil && req.model != s.Model && !slices.Contains(s.Aliases, req.model) {
		err = &fault{status: http.StatusNotFound, message: "The model `" + req.model + "` does not exist.", param: "model"}
	}
	if err != nil {
		refuse(w, err)
		return
	}
	q := newQuery(req, arrived)
	switch err := s.core.owner.submit(r.Context(), q); {
	case errors.Is(err, errDraining):
		refuse(w, &fault{status: http.StatusServiceUnavailable, message: err.Error()})
		return
	case err != nil:
		refuse(w, badRequest("", "%v", err))
		return
	}
	defer s.core.owner.withdraw(q)
	reply := s.reply(r, req)
	if q.stream {
		err = reply.stream(w, r, q)
	} else {
		err = reply.whole(w, r, q)
	}
	if err != nil {
		// Cut the connection, so that nobody takes a part for the whole.
		panic(http.ErrAbortHandler)
	}
}

// reply makes the bytes of one answer. Everything but the token is the same
// in all events of a stream, so it is made once.
type reply struct {
	open     []byte // {"id":…,"object":…,"created":…,"model":…
	role     []byte // the event before the first token, if there is one
	before   []byte // from "data: " to the token
	after    []byte // from the token to the end of its event
	lastOnly []byte // the same for the last token
}

func (s *Server) reply(r *http.Request, q request) reply {
	id, object := "cmpl-", "text_completion"
	if q.api == chat {
		id, object = "chatcmpl-", "chat.completion"
		if q.stream {
			object = "chat.completion.chunk"
		}
	}
	id += s.id(r)
	model, _ := json.Marshal(q.model) // a string always has a form in JSON
	open := make([]byte, 0, 160+len(model))
	open = append(open, `{"id":"`...)
	open = append(open, id...)
	open = append(open, `","object":"`...)
	open = append(open, object...)
	open = append(open, `","created":`...)
	open = strconv.AppendInt(open, time.Now().Unix(), 10)
	open = append(open, `,"model":`...)
	open = append(open, model...)
	p := reply{open: open}
	if !q.stream {
		return p
	}
	event := slices.Concat([]byte("data: "), open, []byte(`,"choices":[{"index":0,`))
	head, tail := `"text":"`, `","logprobs":null,"finish_reason":`
	if q.api == chat {
		head, tail = `"delta":{"content":"`, `"},"logprobs":null,"finish_reason":`
		p.role = slices.Concat(event, []byte(`"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`+"\n\n"))
	}
	p.before = append(event, head...)
	p.after = []byte(tail + "null}]}\n\n")
	p.lastOnly = []byte(tail + `"` + q.reason + `","stop_reason":null}]}` + "\n\n")
	return p
}

// id is the client's own name for the request where that is plain enough, as
// with vLLM, or a new one.
func (s *Server) id(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id != "" && len(id) <= 128 && !slices.ContainsFunc([]byte(id), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' && c != '.'
	}) {
		return id
	}
	return s.core.prefix + "-" + strconv.FormatUint(s.core.replies.Add(1), 36)
}

// maxWrite is about how many bytes of events go out at once.
const maxWrite = 64 << 10

// stream writes an event per token as the tokens come into being. Tokens that
// came while the client was slow go out in one write.
func (p *reply) stream(w http.ResponseWriter, r *http.Request, q *query) error {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	flusher, ok := w.(http.Flusher)
	if !ok {
		return errors.New("the connection cannot flush")
	}
	w.WriteHeader(http.StatusOK)
	flusher.Flush()
	buf := append(make([]byte, 0, 1024), p.role...)
	for sent := 0; sent < q.outputTokens; {
		emitted, err := q.await(r.Context(), sent)
		if err != nil {
			return err
		}
		for ; sent < emitted && len(buf) < maxWrite; sent++ {
			buf = append(buf, p.before...)
			buf = engine.AppendToken(buf, q.seed, sent)
			if sent+1 < q.outputTokens {
				buf = append(buf, p.after...)
			} else {
				buf = p.finish(append(buf, p.lastOnly...), q)
			}
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		flusher.Flush()
		buf = buf[:0]
	}
	return nil
}

// finish appends what follows the last token.
func (p *reply) finish(buf []byte, q *query) []byte {
	if q.usage {
		buf = append(buf, "data: "...)
		buf = append(buf, p.open...)
		buf = append(buf, `,"choices":[],"usage":`...)
		buf = appendUsage(buf, q)
		buf = append(buf, "}\n\n"...)
	}
	return append(buf, "data: [DONE]\n\n"...)
}

// whole writes the answer when all of it exists.
func (p *reply) whole(w http.ResponseWriter, r *http.Request, q *query) error {
	if _, err := q.await(r.Context(), q.outputTokens-1); err != nil {
		return err
	}
	buf := make([]byte, 0, len(p.open)+256+engine.TokenBytes*q.outputTokens)
	buf = append(buf, p.open...)
	head, tail := `"text":"`, `"`
	if q.api == chat {
		head, tail = `"message":{"role":"assistant","content":"`, `"}`
	}
	buf = append(buf, `,"choices":[{"index":0,`...)
	buf = append(buf, head...)
	for i := range q.outputTokens {
		buf = engine.AppendToken(buf, q.seed, i)
	}
	buf = append(buf, tail...)
	buf = append(buf, `,"logprobs":null,"finish_reason":"`...)
	buf = append(buf, q.reason...)
	buf = append(buf, `","stop_reason":null}],"usage":`...)
	buf = append(appendUsage(buf, q), '}')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(buf)))
	_, err := w.Write(buf)
	return err
}

func appendUsage(buf []byte, q *query) []byte {
	buf = append(buf, `{"prompt_tokens":`...)
	buf = strconv.AppendInt(buf, int64(q.promptTokens), 10)
	buf = append(buf, `,"total_tokens":`...)
	buf = strconv.AppendInt(buf, int64(q.promptTokens+q.outputTokens), 10)
	buf = append(buf, `,"completion_tokens":`...)
	buf = strconv.AppendInt(buf, int64(q.outputTokens), 10)
	return append(buf, '}')
}
