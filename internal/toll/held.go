package toll

import (
	"context"
	"fmt"
	"time"
)

// heldBody is the size of the requests that are held.
const heldBody = 2 << 10

// held has a fresh gateway without a replica hold requests, and then serve them
// one after another. They come in waves, each sent when the gateway holds all
// before, so that the order of two waves is certain.
func (f *field) held(ctx context.Context, result *Result) error {
	gateway, err := f.start(ctx, Penstock)
	if err != nil {
		return err
	}
	before, err := gateway.resident()
	if err != nil {
		return err
	}
	n := f.Plan.Held
	f.say("%d requests held", n)
	for sent := 0; sent < n; {
		wave := min(f.Plan.Wave, n-sent)
		if _, err := ask[int](ctx, f.client, order{Do: doHold, Target: gateway.address, Body: heldBody, Count: wave}); err != nil {
			return err
		}
		sent += wave
		if err := holds(ctx, gateway, sent); err != nil {
			return err
		}
	}
	after, err := gateway.resident()
	if err != nil {
		return err
	}
	h := Held{Requests: n, BytesEach: float64(after-before) / float64(n)}
	began := time.Now()
	if err := f.route(ctx, gateway, 1); err != nil {
		return err
	}
	e, err := ask[ended](ctx, f.client, order{Do: doAwait})
	if err != nil {
		return err
	}
	h.ReleasedIn = time.Since(began).Seconds()
	h.Lost, h.Why = e.Lost, e.Why
	numbers, err := ask[[]int](ctx, f.upstream, order{Do: doNumbers})
	if err != nil {
		return err
	}
	h.judge(numbers, f.Plan.Wave)
	result.Held = h
	return nil
}

// holds waits until a gateway holds so many.
func holds(ctx context.Context, gateway *child, n int) error {
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for {
		now, err := ask[int](ctx, gateway, order{Do: doHeld})
		if err != nil || now == n {
			return err
		}
		select {
		case <-again.C:
		case <-late.C:
			return fmt.Errorf("the gateway holds %d requests where it should hold %d", now, n)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// judge counts what did not come once, and what came behind one of a later wave.
func (h *Held) judge(numbers []int, wave int) {
	seen := make([]int, h.Requests+1)
	newest := 0
	for _, n := range numbers {
		if n < 1 || n > h.Requests {
			h.NotOnce++
			continue
		}
		seen[n]++
		w := (n - 1) / wave
		if w < newest {
			h.OutOfOrder++
		}
		newest = max(newest, w)
	}
	for _, times := range seen[1:] {
		if times != 1 {
			h.NotOnce++
		}
	}
}
