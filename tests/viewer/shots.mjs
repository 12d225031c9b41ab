// Pictures of every page, in light and dark, wide and narrow: `node shots.mjs FOLDER [STORE]`.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { browser, store, view } from './browser.mjs'

const out = process.argv[2]
mkdirSync(out, { recursive: true })
const filled = process.argv[3] ? { dir: process.argv[3], remove() {} } : store(4000)
const viewer = await view(filled.dir)
const chromium = await browser()
const only = process.env.ONLY?.split(',')
try {
  for (const theme of ['light', 'dark']) {
    for (const width of [1280, 390]) {
      const context = await chromium.newContext({ viewport: { width, height: width === 390 ? 844 : 860 }, colorScheme: theme })
      const page = await context.newPage()
      await page.goto(viewer.address)
      await page.goto(`${viewer.origin}/traces?q=cost:>0.002 name:answer&range=all&sort=calls`)
      const trace = await page.locator('#rows a.open').first().getAttribute('href')
      await page.goto(`${viewer.origin}/generations?q=tool:lookup_order status:ok&range=all&sort=tokens`)
      const call = await page.locator('#rows a.open').first().getAttribute('href')
      const pages = {
        overview: '/?range=30d',
        traces: '/traces?range=all',
        trace,
        generations: '/generations?range=all&q=model:gpt-5*',
        generation: call,
        sessions: '/sessions?range=all',
        users: '/users?range=all',
        models: '/models?range=all',
        errors: '/errors?range=all',
        tools: '/tools?range=all',
        health: '/health?range=all',
      }
      for (const [name, path] of Object.entries(pages)) {
        if (only && !only.includes(name)) continue
        await page.goto(viewer.origin + path)
        await page.waitForSelector('.live.on, #detail, .detail')
        await page.screenshot({ path: join(out, `${name}-${theme}-${width}.png`) })
      }
      await context.close()
    }
  }
} finally {
  await chromium.close()
  viewer.stop()
  filled.remove()
}
