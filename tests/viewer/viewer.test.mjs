// Every page, the filter, the keyboard, what is live, and what must not happen, in Debian's Chromium.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { browser, events, llmtrail, store, view } from './browser.mjs'

const PAGES = ['/', '/traces', '/generations', '/sessions', '/users', '/models', '/errors', '/tools', '/health']
const SCRIPT = `<script>document.title='ran'</script><img src=x onerror="document.title='ran'">`

let filled, viewer, chromium

beforeAll(async () => {
  filled = store(300)
  viewer = await view(filled.dir)
  chromium = await browser()
}, 120_000)

afterAll(async () => {
  await chromium?.close()
  viewer?.stop()
  filled?.remove()
})

/** A page that is let in, and what went wrong in it. */
async function open(path = '/', options = {}, of = viewer) {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 860 }, ...options })
  const page = await context.newPage()
  const wrong = []
  page.on('pageerror', (error) => wrong.push(String(error)))
  page.on('console', (message) => message.type() === 'error' && wrong.push(message.text()))
  page.on('request', (request) => request.url().startsWith(of.origin) || wrong.push(`asked ${request.url()}`))
  await page.goto(of.address)
  expect(page.url()).toBe(`${of.origin}/`)
  if (path !== '/') await page.goto(of.origin + path)
  return { page, wrong, close: () => context.close() }
}

test.each([1280, 390])('every page fits and is quiet at %i px', async (width) => {
  const { page, wrong, close } = await open('/', { viewport: { width, height: 844 } })
  const trace = await page.goto(`${viewer.origin}/traces?range=all`).then(() => page.locator('#rows a.open').first().getAttribute('href'))
  const call = await page.goto(`${viewer.origin}/generations?range=all`).then(() => page.locator('#rows a.open').first().getAttribute('href'))
  for (const path of [...PAGES.map((path) => `${path}?range=all`), trace, call]) {
    const answer = await page.goto(viewer.origin + path)
    expect([path, answer.status()]).toEqual([path, 200])
    expect([path, await page.locator('h1').count()]).toEqual([path, 1])
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    expect([path, wide <= 0]).toEqual([path, true])
    const unnamed = await page.evaluate(() => [...document.querySelectorAll('a, button, input:not([type=hidden])')].filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length || e.title)).length)
    expect([path, unnamed]).toEqual([path, 0])
  }
  expect(wrong).toEqual([])
  await close()
}, 60_000)

/** The paths of all pages, with one of a trace and one of a call. */
async function everyPage(page) {
  const first = (list) => page.goto(`${viewer.origin}${list}range=all`).then(() => page.locator('#rows a.open').first().getAttribute('href'))
  return [...PAGES.map((path) => `${path}?range=all`), '/traces?range=all&q=colour:red', await first('/traces?q=name:answer&'), await first('/generations?')]
}

test.each([1280, 390])('what assistive technology is told at %i px', async (width) => {
  const { page, close } = await open('/', { viewport: { width, height: 844 } })
  const paths = await everyPage(page)
  const devtools = await page.context().newCDPSession(page)
  for (const path of paths) {
    await page.goto(viewer.origin + path)
    const { nodes } = await devtools.send('Accessibility.getFullAXTree')
    const told = nodes.filter((node) => !node.ignored).map((node) => ({ role: node.role?.value, name: node.name?.value?.trim() ?? '' }))
    const of = (role) => told.filter((node) => node.role === role)
    // Every control and every table has a name, and every column a head.
    const unnamed = told.filter(({ role, name }) => /^(link|button|searchbox|textbox|table|image|img|columnheader|rowheader|navigation|dialog)$/.test(role) && !name)
    expect([path, unnamed]).toEqual([path, []])
    const tables = await page.evaluate(() => ({ tables: document.querySelectorAll('table').length, heads: document.querySelectorAll('thead th').length }))
    expect([path, of('table').length, of('columnheader').length]).toEqual([path, tables.tables, tables.heads])
    // The parts of a page, once each, and its name.
    for (const role of ['main', 'banner', 'search']) expect([path, role, of(role).length]).toEqual([path, role, 1])
    expect([path, await page.locator('h1').count()]).toEqual([path, 1])
    expect([path, await page.locator('[tabindex]:not([tabindex="-1"]):not([tabindex="0"])').count()]).toEqual([path, 0])
    // What is announced while it changes is there before it does.
    expect([path, await page.locator('#said[role=status]').count()]).toEqual([path, 1])
  }
  await page.goto(`${viewer.origin}/traces?range=all&q=colour:red`)
  expect(await page.locator('#q').getAttribute('aria-invalid')).toBe('true')
  // What colours and places say is said in words: the kind of a span, and how deep it is.
  await page.goto(viewer.origin + paths.at(-2))
  expect(await page.locator('#rows').ariaSnapshot()).toMatch(/img "(generation|trace|span|tool)"/)
  expect(await page.locator('#rows > li').last().getAttribute('aria-level')).toBe('2')
  await page.goto(`${viewer.origin}/traces?range=all&q=name:answer`)
  expect(await page.locator('td.c-tokens', { hasText: 'out' }).first().innerText()).toMatch(/\bin,\s*→.*\bout$/s)
  await close()
}, 90_000)

/** Every text of a page whose colour is too near to that behind it, with the contrast (WCAG 2.2, 1.4.3: 4.5, or 3 when large). */
function tooFaint() {
  const paint = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1)
    paint.fillStyle = colour
    paint.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data
    return [r, g, b, a / 255]
  }
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)]
  const behind = (element) => {
    if (!element) return [255, 255, 255]
    const colour = rgba(getComputedStyle(element).backgroundColor)
    return colour[3] === 1 ? colour.slice(0, 3) : over(colour, behind(element.parentElement))
  }
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const found = new Map()
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement
    if (!text.data.trim() || element.closest('.visually-hidden, svg, script') || !element.checkVisibility()) continue
    const style = getComputedStyle(element)
    const back = behind(element)
    const [a, b] = [light(over(rgba(style.color), back)), light(back)].sort((a, b) => b - a)
    const contrast = (a + 0.05) / (b + 0.05)
    const size = Number.parseFloat(style.fontSize)
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700)
    if (contrast < (large ? 3 : 4.5)) found.set(`${element.tagName} ${element.className}`, `${text.data.trim().slice(0, 30)}: ${contrast.toFixed(2)}`)
  }
  return [...found]
}

test.each(['light', 'dark'])('everything can be read in the %s', async (colorScheme) => {
  const { page, close } = await open('/', { colorScheme })
  for (const path of await everyPage(page)) {
    await page.goto(viewer.origin + path)
    await page.evaluate(() => {
      for (const details of document.querySelectorAll('details')) details.open = true
    })
    expect([path, await page.evaluate(tooFaint)]).toEqual([path, []])
  }
  await page.goto(viewer.origin)
  await page.keyboard.press('?')
  expect(await page.evaluate(tooFaint)).toEqual([])
  await close()
}, 90_000)

test('the keyboard goes through a page in its order, and past what is on every page', async () => {
  const { page, close } = await open('/traces?range=all')
  const at = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.id)
  await page.keyboard.press('Tab')
  expect(await at()).toBe('Skip to content')
  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  expect(await page.evaluate(() => document.querySelector('#main').contains(document.activeElement))).toBe(true)
  await page.reload()
  const walked = []
  for (let step = 0; step < 14; step += 1) {
    await page.keyboard.press('Tab')
    walked.push(await at())
  }
  expect(walked).toEqual(['Skip to content', 'llmtrail', 'Overview', 'Traces', 'Generations', 'Sessions', 'Users', 'Models', 'Errors', 'Tools', 'Health', 'Theme: system', '? Help', 'q'])
  // The help takes the focus, and gives it back.
  await page.locator('#keys').focus()
  await page.keyboard.press('Enter')
  expect(await page.evaluate(() => document.querySelector('#help').contains(document.activeElement))).toBe(true)
  await page.keyboard.press('Escape')
  expect(await at()).toBe('? Help')
  await close()
}, 30_000)

test('the filter is in the address, narrows the list, and says when it is not understood', async () => {
  const { page, close } = await open('/generations?range=all')
  const total = () => page.locator('.pages span').textContent()
  const all = await total()
  await page.fill('#q', 'model:claude-sonnet* status:ok')
  await page.press('#q', 'Enter')
  await page.waitForURL(/q=model/)
  expect(await total()).not.toBe(all)
  for (const model of await page.locator('td.c-model > a').allTextContents()) expect(model).toBe('claude-sonnet-4-6')
  // A click on a value narrows further, and everything comes back from the address alone.
  await page.locator('td.c-user a').first().click()
  await page.waitForURL(/user/)
  const here = page.url()
  await page.goto('about:blank')
  await page.goto(here)
  expect(await page.inputValue('#q')).toMatch(/^model:claude-sonnet\* status:ok user:/)
  await page.fill('#q', 'colour:red')
  await page.press('#q', 'Enter')
  await page.waitForSelector('[role=alert]')
  expect(await page.locator('[role=alert]').textContent()).toContain('colour: is no name of a filter')
  await close()
}, 30_000)

test('words are found in messages', async () => {
  const { page, close } = await open('/generations?range=all&q=text:hardcover')
  await expect.poll(async () => (await page.reload(), page.locator('#rows > tr').count()), { timeout: 15_000 }).toBeGreaterThan(0)
  await page.goto(`${viewer.origin}/generations?range=all&q=text:nobodysaidthis`)
  expect(await page.locator('.nothing').count()).toBe(1)
  await close()
}, 30_000)

test('columns sort both ways', async () => {
  const { page, close } = await open('/traces?range=all')
  await page.click('th.c-cost a')
  await page.waitForURL(/sort=cost/)
  const costs = async () => (await page.locator('td.c-cost .money').evaluateAll((all) => all.map((e) => Number(e.title.replace(/[$, USD]/g, '')))))
  const falling = await costs()
  expect(falling).toEqual([...falling].sort((a, b) => b - a))
  await page.click('th.c-cost a')
  await page.waitForURL(/sort=-cost/)
  expect(await page.locator('th.c-cost').getAttribute('aria-sort')).toBe('ascending')
  await close()
}, 30_000)

test('the keyboard walks, opens and goes back', async () => {
  const { page, close } = await open('/traces?range=all&q=name:answer')
  await page.keyboard.press('j')
  await page.keyboard.press('j')
  expect(await page.locator('#rows > tr').nth(1).getAttribute('class')).toContain('here')
  await page.keyboard.press('k')
  expect(await page.locator('#rows > tr').nth(0).getAttribute('class')).toContain('here')
  await page.keyboard.press('Enter')
  await page.waitForURL(/\/trace\//)
  // In a trace the walk shows each span, and the address follows.
  await page.keyboard.press('k')
  await page.waitForURL(/span=/)
  // The way back leads to the list as it was.
  await page.keyboard.press('Escape')
  await page.waitForURL(/\/traces/)
  expect(await page.inputValue('#q')).toBe('name:answer')
  await page.keyboard.press('/')
  expect(await page.evaluate(() => document.activeElement.id)).toBe('q')
  await page.keyboard.press('Escape')
  await page.keyboard.press('?')
  expect(await page.locator('#help').evaluate((dialog) => dialog.open)).toBe(true)
  await page.keyboard.press('Escape')
  expect(await page.locator('#help').evaluate((dialog) => dialog.open)).toBe(false)
  await page.keyboard.press('g')
  await page.keyboard.press('n')
  await page.waitForURL(/\/generations/)
  await close()
}, 30_000)

test('a call is copied as code, and as it was captured', async () => {
  const { page, close } = await open('/generations?range=all&q=status:ok', { permissions: ['clipboard-read', 'clipboard-write'] })
  await page.locator('#rows a.open').first().click()
  await page.waitForURL(/\/event\//)
  for (const [name, says] of [['curl', 'curl '], ['Python', 'client.chat.completions.create('], ['TypeScript', 'await client.chat'], ['Raw event', '"$ai_trace_id"']]) {
    await page.getByRole('button', { name, exact: true }).click()
    await page.getByRole('button', { name: 'Copied' }).waitFor()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain(says)
    await page.getByRole('button', { name, exact: true }).waitFor()
  }
  await close()
}, 30_000)

test('what is new shows by itself', async () => {
  const empty = store(0)
  const other = await view(empty.dir)
  const { page, wrong, close } = await open('/traces', {}, other)
  expect(await page.locator('.nothing h2').textContent()).toBe('Nothing was captured yet')
  llmtrail(empty.dir, 'import', events(empty.dir, [{ $ai_trace_id: 'first', $ai_span_name: 'the first', $ai_model: 'm' }]))
  await page.locator('#rows > tr', { hasText: 'm' }).waitFor({ timeout: 15_000 })
  llmtrail(empty.dir, 'import', events(empty.dir, [{ $ai_trace_id: 'second', $ai_model: 'newer' }]))
  await page.locator('#rows > tr.fresh').waitFor({ timeout: 15_000 })
  expect(await page.locator('#rows > tr').count()).toBe(2)
  // It is announced, and takes the focus from nobody.
  expect(await page.locator('#said').textContent()).toBe('New traces: 1')
  for (const [focused, event] of [['th.c-cost a', 'third'], ['#rows > tr:last-child td.c-name a', 'fourth']]) {
    await page.focus(focused)
    const before = await page.evaluate(() => document.activeElement.getAttribute('href'))
    const rows = await page.locator('#rows > tr').count()
    llmtrail(empty.dir, 'import', events(empty.dir, [{ $ai_trace_id: event, $ai_model: event }]))
    await expect.poll(() => page.locator('#rows > tr').count(), { timeout: 15_000 }).toBe(rows + 1)
    expect(await page.evaluate(() => document.activeElement.getAttribute('href'))).toBe(before)
  }
  // Nor does a removal need a reload.
  llmtrail(empty.dir, 'purge', '--trace', 'first')
  await expect.poll(() => page.locator('#rows > tr').count(), { timeout: 15_000 }).toBe(3)
  expect(wrong).toEqual([])
  await close()
  other.stop()
  empty.remove()
}, 60_000)

test('light and dark are kept', async () => {
  const { page, close } = await open('/', { colorScheme: 'dark' })
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const dark = await colour()
  await page.click('#theme')
  const light = await colour()
  expect(light).not.toBe(dark)
  await page.reload()
  expect(await colour()).toBe(light)
  await close()
}, 30_000)

test('the browser is opened, and without one there is the address', async () => {
  // What it would start, which says what it was given; and a machine that has nothing to start.
  const programs = mkdtempSync(join(tmpdir(), 'llmtrail-programs-'))
  const given = join(programs, 'given')
  for (const name of ['xdg-open', 'open']) writeFileSync(join(programs, name), `#!/bin/sh\necho "$1" > '${given}'\n`, { mode: 0o755 })
  const opened = await view(filled.dir, ['--open'], { PATH: programs })
  await expect.poll(() => existsSync(given) && readFileSync(given, 'utf8').trim(), { timeout: 15_000 }).toBe(opened.address)
  opened.stop()
  const bare = await view(filled.dir, ['--open'], { PATH: '/nowhere' })
  await expect.poll(() => bare.said(), { timeout: 15_000 }).toContain('open the address yourself')
  const answer = await fetch(bare.address, { redirect: 'manual' })
  expect(answer.status).toBe(303)
  bare.stop()
  rmSync(programs, { recursive: true })
}, 60_000)

test('nothing that models say runs or loads', async () => {
  const hostile = store(0)
  const message = (role) => ({ role, content: `${SCRIPT} ![x](https://evil.example/a.png) [y](javascript:document.title='ran')` })
  const all = { $ai_trace_id: 't', $ai_model: SCRIPT, $ai_span_name: SCRIPT, $ai_session_id: SCRIPT, $ai_error: SCRIPT, $ai_error_type: SCRIPT, $ai_is_error: true }
  const uuids = { dir: hostile.dir }
  llmtrail(hostile.dir, 'import', events(uuids.dir, [{ ...all, $ai_input: [message('system'), message('user'), { role: 'tool', tool_call_id: 'c', content: SCRIPT }], $ai_output_choices: [message('assistant'), { role: 'assistant', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/svg+xml', data: btoa('<svg onload="alert(1)"/>') } }] }] }]))
  const other = await view(hostile.dir)
  const { page, wrong, close } = await open('/', {}, other)
  for (const path of [...PAGES, '/trace/t', '/trace/t?look=plain', `/traces?q=${encodeURIComponent(SCRIPT)}`]) {
    await page.goto(other.origin + path)
    for (const summary of await page.locator('details:not([open]) > summary').all()) await summary.click({ timeout: 2000 }).catch(() => {})
    expect(await page.title(), path).not.toBe('ran')
    expect(await page.locator('main script, main iframe, main img').count(), path).toBe(0)
  }
  expect(wrong).toEqual([])
  await close()
  other.stop()
  hostile.remove()
}, 60_000)

test('a page of somebody else gets nothing', async () => {
  const { page, close } = await open('/')
  // Another origin on this machine, in the browser that has the cookie.
  const { createServer } = await import('node:http')
  const server = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<h1>evil</h1>'))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const evil = await page.context().newPage()
  await evil.goto(`http://127.0.0.1:${server.address().port}/`)
  const got = await evil.evaluate(async (origin) => {
    const read = (mode) => fetch(`${origin}/traces`, { credentials: 'include', mode }).then((a) => a.text(), () => 'refused')
    const framed = await new Promise((resolve) => {
      const frame = document.createElement('iframe')
      frame.onload = () => {
        try {
          resolve(frame.contentDocument?.body?.textContent ? 'read' : 'empty')
        } catch {
          resolve('refused')
        }
      }
      frame.src = origin
      document.body.append(frame)
    })
    const script = await new Promise((resolve) => {
      const element = document.createElement('script')
      element.onload = () => resolve('loaded')
      element.onerror = () => resolve('refused')
      element.src = `${origin}/assets/app.js`
      document.body.append(element)
    })
    return [await read('cors'), await read('no-cors'), framed === 'read', script]
  }, viewer.origin)
  expect(got[0]).toBe('refused')
  expect(['', 'refused']).toContain(got[1])
  expect(got.slice(2)).toEqual([false, 'refused'])
  server.close()
  // Without the token there is nothing, in a browser that never had it.
  const stranger = await chromium.newContext()
  const blank = await stranger.newPage()
  const answer = await blank.goto(`${viewer.origin}/traces`)
  expect(answer.status()).toBe(403)
  expect(await blank.content()).not.toContain('answer')
  await stranger.close()
  await close()
}, 60_000)

test('a trace of 5,000 spans opens and scrolls', async () => {
  const { page, wrong, close } = await open('/trace/wide-trace')
  expect(await page.locator('#rows > li').count()).toBe(5000)
  await page.locator('#rows > li').nth(4900).scrollIntoViewIfNeeded()
  await page.locator('#rows > li').nth(4900).locator('a').click()
  await page.waitForURL(/span=/)
  expect(await page.locator('#detail h2').textContent()).toContain('4900')
  expect(wrong).toEqual([])
  await close()
}, 60_000)
