// A generation of 2 KB by hand, and the memory of the process that captures it.

import { readFileSync } from 'node:fs'

export const input = [{ role: 'user', content: 'lorem ip'.repeat(96) }]
export const output = [{ role: 'assistant', content: 'word '.repeat(150) }]
export const properties = {
  $ai_model: 'gpt-5-mini',
  $ai_provider: 'openai',
  $ai_input: input,
  $ai_output_choices: output,
  $ai_input_tokens: 200,
  $ai_output_tokens: 150,
  $ai_latency: 1.25,
  $ai_trace_id: 'trace-1',
}

// The memory that is resident, in MB ('VmRSS'), or the most that was ('VmHWM'). Not by `resourceUsage`, which keeps what
// the parent had at the fork.
export const memory = (what) =>
  Number(new RegExp(`${what}:\\s*(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
