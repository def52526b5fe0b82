package engine

// An emulated reply is a function of its prompt, so that a reader who knows
// the prompt sees every lost, repeated, swapped or missing token.

// Seed returns what the tokens of the reply to a prompt derive from: the 64-bit
// FNV-1a hash of its text. The text of a chat is the contents of all its
// messages, joined with "\n".
func Seed(prompt string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(prompt) {
		hash ^= uint64(prompt[i])
		hash *= 1099511628211
	}
	return hash
}

// TokenBytes is the length of every token of an emulated reply.
const TokenBytes = 9

// Token returns the text of the token at an index, from 0, of the reply with a
// seed: a blank and eight characters of a-z and 2-7, so that it needs no
// escaping in JSON. Forty bits tell two tokens apart.
func Token(seed uint64, index int) string {
	var room [TokenBytes]byte
	return string(AppendToken(room[:0], seed, index))
}

// AppendToken appends Token(seed, index) to dst.
func AppendToken(dst []byte, seed uint64, index int) []byte {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
	x := seed + (uint64(index)+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	dst = append(dst, ' ')
	for shift := 0; shift < 40; shift += 5 {
		dst = append(dst, alphabet[x>>shift&31])
	}
	return dst
}
