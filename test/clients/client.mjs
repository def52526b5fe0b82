// One call with the official OpenAI client for JavaScript, as client.py makes it.
import OpenAI from 'openai'

const [baseURL, apiKey, model, name] = process.argv.slice(2)
const client = new OpenAI({ baseURL, apiKey, defaultHeaders: { 'X-Request-Id': name } })
const begun = performance.now()
const out = {}
try {
  const events = await client.chat.completions.create({
    model, messages: [{ role: 'user', content: 'count' }], max_tokens: 20, stream: true,
  })
  out.text = ''
  for await (const e of events) for (const c of e.choices) out.text += c.delta.content ?? ''
} catch (e) {
  if (!(e instanceof OpenAI.APIError)) throw e
  out.status = e.status
  out.code = e.code
  out.error = e.constructor.name
}
out.seconds = (performance.now() - begun) / 1000
console.log(JSON.stringify(out))
