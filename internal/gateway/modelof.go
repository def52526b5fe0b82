package gateway

// ModelOf returns the model that a request's body names, read as the gateway
// reads every body. It is what the benchmark times.
func (g *Gateway) ModelOf(body []byte) (string, error) {
	g.prepare()
	h, err := g.inspect(body)
	return h.model, err
}
