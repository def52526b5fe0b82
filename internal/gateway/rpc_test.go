package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/penstock/penstock/internal/scale"
)

// wire has grpc-go pass messages on as they are.
type wire struct{}

func (wire) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (wire) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (wire) Name() string                       { return "proto" }

// message is an inference request: field 1 is the model, field 3 the id.
func message(model, id string) []byte {
	m := append([]byte{1<<3 | 2, byte(len(model))}, model...)
	return append(append(m, 3<<3|2, byte(len(id))), id...)
}

// callee is a real gRPC server: it answers a call with what it received, and a
// stream with each message.
func callee(t *testing.T, serve func(method string, stream grpc.ServerStream) error) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(wire{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		return serve(method, stream)
	}))
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		running.Wait()
	})
	return listener.Addr().String()
}

// echo answers each message with itself.
func echo(_ string, stream grpc.ServerStream) error {
	_ = stream.SetHeader(metadata.Pairs("served-by", "callee"))
	stream.SetTrailer(metadata.Pairs("cost", "3"))
	for {
		var m []byte
		if err := stream.RecvMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := stream.SendMsg(&m); err != nil {
			return err
		}
	}
}

// call is a real gRPC client of the rig.
func (r *rig) call(t *testing.T, secured credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	_, target, _ := strings.Cut(r.url, "://")
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(secured), grpc.WithDefaultCallOptions(grpc.ForceCodec(wire{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func inferStream(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, rpcService+"ModelStreamInfer")
}

// A call goes through byte for byte, with its metadata, header and trailer,
// over TLS and without; and it waits for a replica like any request.
func TestCallPassesThrough(t *testing.T) {
	safe, _ := secure(t)
	trusted, err := credentials.NewClientTLSFromFile(safe.Certificate.CertFile, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		rig     *rig
		secured credentials.TransportCredentials
	}{
		"plain": {newRig(t, nil), insecure.NewCredentials()}, "over TLS": {safe, trusted},
	} {
		t.Run(name, func(t *testing.T) {
			r, conn := c.rig, c.rig.call(t, c.secured)
			var got atomic.Pointer[metadata.MD]
			address := callee(t, func(method string, stream grpc.ServerStream) error {
				md, _ := metadata.FromIncomingContext(stream.Context())
				got.Store(&md)
				return echo(method, stream)
			})
			go func() {
				eventually(t, "a wake", func() bool { return r.woken.Load() > 0 })
				r.routes(address)
			}()
			big := append(message("legal", "7"), append([]byte{5<<3 | 2, 0xa0, 0x8d, 0x06}, bytes.Repeat([]byte("x"), 100_000)...)...)
			ctx := metadata.AppendToOutgoingContext(t.Context(), "my-key", "mine", "authorization", "secret")
			var reply []byte
			var header, trailer metadata.MD
			if err := conn.Invoke(ctx, rpcService+"ModelInfer", &big, &reply, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(reply, big) || header["served-by"][0] != "callee" || trailer["cost"][0] != "3" {
				t.Errorf("%d bytes, header %v, trailer %v", len(reply), header, trailer)
			}
			if md := *got.Load(); md["my-key"][0] != "mine" || md["authorization"] != nil || len(md["x-request-id"]) != 1 {
				t.Errorf("the replica saw %v", md)
			}
			r.wantOutcome(scale.OK, 1)
		})
	}
}

// What the gateway itself knows it answers itself, also while a model sleeps.
func TestCallsAboutReadiness(t *testing.T) {
	r := newRig(t, nil)
	conn := r.call(t, insecure.NewCredentials())
	for method, request := range map[string][]byte{
		rpcService + "ServerLive": {}, rpcService + "ServerReady": {}, rpcHealth: {}, rpcService + "ModelReady": message(modelName, "1"),
	} {
		var reply []byte
		if err := conn.Invoke(t.Context(), method, &request, &reply); err != nil || string(reply) != "\x08\x01" {
			t.Errorf("%s: %q, %v", method, reply, err)
		}
	}
	var reply, none []byte
	if err := conn.Invoke(t.Context(), rpcService+"ServerMetadata", &none, &reply); err != nil || !strings.Contains(string(reply), "penstock") {
		t.Errorf("metadata %q, %v", reply, err)
	}
}

// Each refusal is a gRPC status, and no refused call reaches a replica.
func TestCallsThatAreRefused(t *testing.T) {
	r := newRig(t, func(g *Gateway) { twoModels(g); g.Limits.MaxBody = 200; g.Limits.MaxHeld = 1 })
	var reached atomic.Int64
	r.routes(callee(t, func(m string, s grpc.ServerStream) error { reached.Add(1); return echo(m, s) }))
	conn := r.call(t, insecure.NewCredentials())
	infer, one := rpcService+"ModelInfer", message(modelName, "1")
	for name, c := range map[string]struct {
		method  string
		message []byte
		options []grpc.CallOption
		want    codes.Code
	}{
		"an unknown model":           {infer, message("nobody", "1"), nil, codes.NotFound},
		"a model not ready":          {rpcService + "ModelReady", message("nobody", "1"), nil, codes.NotFound},
		"no model":                   {infer, []byte{3<<3 | 2, 1, 'a'}, nil, codes.InvalidArgument},
		"nothing":                    {infer, nil, nil, codes.InvalidArgument},
		"two models":                 {infer, append(message(otherName, "1"), one...), nil, codes.InvalidArgument},
		"a model that is a number":   {infer, append([]byte{1 << 3, 5}, one...), nil, codes.InvalidArgument},
		"a number that is too long":  {infer, append([]byte{3<<3 | 2 | 0x80, 0, 1, 'a'}, one...), nil, codes.InvalidArgument},
		"a length that is too long":  {infer, append([]byte{3<<3 | 2, 0x81, 0, 'a'}, one...), nil, codes.InvalidArgument},
		"a field that is cut short":  {infer, append(one, 3<<3|2, 9), nil, codes.InvalidArgument},
		"a group":                    {infer, append(one, 3<<3|3, 3<<3|4), nil, codes.InvalidArgument},
		"a field zero":               {infer, append(one, 0, 0), nil, codes.InvalidArgument},
		"a message that is too long": {infer, append(one, append([]byte{5<<3 | 2, 0xac, 2}, make([]byte, 300)...)...), nil, codes.ResourceExhausted},
		"a compressed message":       {infer, one, []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, codes.Unimplemented},
		"load":                       {rpcService + "RepositoryModelLoad", one, nil, codes.Unimplemented},
		"another service":            {"/evil.Service/Call", one, nil, codes.Unimplemented},
	} {
		t.Run(name, func(t *testing.T) {
			var reply []byte
			err := conn.Invoke(t.Context(), c.method, &c.message, &reply, c.options...)
			if status.Code(err) != c.want || status.Convert(err).Message() == "" {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d refused calls reached a replica", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held := message("lane", "1")
	done := make(chan error, 1)
	go func() { done <- conn.Invoke(ctx, infer, &held, new([]byte)) }()
	eventually(t, "one is held", func() bool { return r.Traffic("lane", time.Now()).Demand.Held.Value == 1 })
	var trailer metadata.MD
	if err := conn.Invoke(t.Context(), infer, &held, new([]byte), grpc.Trailer(&trailer)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a full hold: %v", err)
	}
	cancel()
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Errorf("a caller that gave up: %v", err)
	}
}

// A stream goes both ways at once, each message as it comes.
func TestStreamOfCallsGoesBothWays(t *testing.T) {
	r := newRig(t, nil)
	r.routes(callee(t, echo))
	stream, err := inferStream(t.Context(), r.call(t, insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		m := message(modelName, fmt.Sprint(i))
		if err := stream.SendMsg(&m); err != nil {
			t.Fatal(err)
		}
		var reply []byte
		if err := stream.RecvMsg(&reply); err != nil || !bytes.Equal(reply, m) {
			t.Fatalf("message %d: %q, %v", i, reply, err)
		}
	}
	if r.InFlight(modelName, "r0") != 1 {
		t.Error("the stream is not counted")
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new([]byte)); !errors.Is(err, io.EOF) || stream.Trailer()["cost"][0] != "3" {
		t.Errorf("end: %v, trailer %v", err, stream.Trailer())
	}
	r.wantOutcome(scale.OK, 1)
}

// A stream belongs to one model. A message that names another is not passed on
// and ends it.
func TestStreamOfCallsKeepsToItsModel(t *testing.T) {
	r := newRig(t, twoModels)
	var saw atomic.Int64
	r.routes(callee(t, func(_ string, stream grpc.ServerStream) error {
		for {
			var m []byte
			if err := stream.RecvMsg(&m); err != nil {
				return err
			}
			if strings.Contains(string(m), otherName) {
				saw.Add(1)
			}
			if err := stream.SendMsg(&m); err != nil {
				return err
			}
		}
	}))
	for name, replied := range map[string]bool{"before a reply": false, "after a reply": true} {
		t.Run(name, func(t *testing.T) {
			stream, err := inferStream(t.Context(), r.call(t, insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			mine, other := message(modelName, "1"), message(otherName, "2")
			if err := stream.SendMsg(&mine); err != nil {
				t.Fatal(err)
			}
			if replied {
				if err := stream.RecvMsg(new([]byte)); err != nil {
					t.Fatal(err)
				}
			}
			_ = stream.SendMsg(&other)
			for err == nil {
				err = stream.RecvMsg(new([]byte))
			}
			if status.Code(err) != codes.InvalidArgument || saw.Load() > 0 {
				t.Errorf("%v, and %d messages to another model reached the replica", err, saw.Load())
			}
		})
	}
	eventually(t, "nothing is in flight", func() bool { return r.InFlight(modelName, "r0") == 0 })
}

// A replica that dies before it replied costs the caller nothing, whatever was
// sent; one that dies later ends the call with a status.
func TestReplicaOfACallDies(t *testing.T) {
	r := newRig(t, nil)
	var taken atomic.Int64
	// The first replica takes two messages and then is gone with its connection.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mortal *grpc.Server
	mortal = grpc.NewServer(grpc.ForceServerCodec(wire{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		for range 2 {
			if err := stream.RecvMsg(new([]byte)); err != nil {
				return err
			}
			taken.Add(1)
		}
		go mortal.Stop()
		<-stream.Context().Done()
		return nil
	}))
	var running sync.WaitGroup
	running.Go(func() { _ = mortal.Serve(listener) })
	defer running.Wait()
	defer mortal.Stop()
	r.Route(modelName, []scale.Route{route("a", listener.Addr().String(), 4)})
	stream, err := inferStream(t.Context(), r.call(t, insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		m := message(modelName, fmt.Sprint(i))
		if err := stream.SendMsg(&m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the first replica took both", func() bool { return taken.Load() == 2 })
	r.Route(modelName, []scale.Route{route("a", listener.Addr().String(), 4), route("b", callee(t, echo), 4)})
	for i := range 2 {
		var reply []byte
		if err := stream.RecvMsg(&reply); err != nil || !bytes.Equal(reply, message(modelName, fmt.Sprint(i))) {
			t.Fatalf("reply %d: %q, %v", i, reply, err)
		}
	}
	// It has replied: its death is the caller's to know.
	r.Route(modelName, []scale.Route{{Replica: scale.Replica{ID: "b", Phase: scale.Gone}}})
	if err := stream.RecvMsg(new([]byte)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "lost before") {
		t.Errorf("%v", err)
	}
	r.wantOutcome(scale.Interrupted, 1)
}

// A caller that goes away cancels its call at the replica and frees the slot.
func TestCallerGoesAway(t *testing.T) {
	r := newRig(t, nil)
	reached, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	r.routes(callee(t, func(_ string, stream grpc.ServerStream) error {
		reached <- struct{}{}
		<-stream.Context().Done()
		ended <- struct{}{}
		return nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := inferStream(ctx, r.call(t, insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	m := message(modelName, "1")
	if err := stream.SendMsg(&m); err != nil {
		t.Fatal(err)
	}
	<-reached
	cancel()
	<-ended
	eventually(t, "the slot is free", func() bool { return r.InFlight(modelName, "r0") == 0 })
	r.wantOutcome(scale.Cancelled, 1)
}

// The status that a replica gives a call is the caller's.
func TestStatusOfACallIsPassedThrough(t *testing.T) {
	r := newRig(t, nil)
	r.routes(callee(t, func(string, grpc.ServerStream) error {
		return status.Error(codes.FailedPrecondition, "100 % wrong: é")
	}))
	m := message(modelName, "1")
	err := r.call(t, insecure.NewCredentials()).Invoke(t.Context(), rpcService+"ModelInfer", &m, new([]byte))
	if status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "100 % wrong: é" {
		t.Errorf("%v", err)
	}
	r.wantOutcome(scale.Failed, 1)
}

// FuzzMessageModel: what is accepted has one field 1, and it is the model.
func FuzzMessageModel(f *testing.F) {
	f.Add(message("m", "1"))
	f.Add(append(message("m", "1"), message("n", "2")...))
	f.Add([]byte{1<<3 | 2, 1, 'm', 2<<3 | 1, 1, 2, 3, 4, 5, 6, 7, 8, 3<<3 | 5, 1, 2, 3, 4, 4 << 3, 0x80, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		name, err := messageModel(data)
		if err != nil {
			return
		}
		if want, ok := lastFieldOne(data); !ok || want != name {
			t.Fatalf("%q of %q, protowire reads %q (%v)", name, data, want, ok)
		}
	})
}
