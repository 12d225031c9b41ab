// The keyboard, what is live, copying and the theme. Every page works without it.
'use strict'

const root = document.documentElement
const stored = (() => {
  try {
    return localStorage.getItem('theme')
  } catch {
    return null
  }
})()
if (stored) root.dataset.theme = stored

document.addEventListener('DOMContentLoaded', () => {
  const $ = (selector, from = document) => from.querySelector(selector)
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)]
  const say = (text) => {
    $('#said').textContent = text
  }

  // ---- theme ------------------------------------------------------------------------------------------------------
  const theme = $('#theme')
  const showTheme = () => {
    theme.textContent = `Theme: ${root.dataset.theme ?? 'system'}`
  }
  theme.addEventListener('click', () => {
    const next = { undefined: 'light', light: 'dark', dark: undefined }[root.dataset.theme]
    if (next) root.dataset.theme = next
    else delete root.dataset.theme
    try {
      if (next) localStorage.setItem('theme', next)
      else localStorage.removeItem('theme')
    } catch {}
    showTheme()
  })
  showTheme()

  // ---- rows -------------------------------------------------------------------------------------------------------
  const rows = () => $$('#rows > *')
  const here = () => $('#rows > .here')
  const go = (row) => {
    if (!row) return
    here()?.classList.remove('here')
    row.classList.add('here')
    row.scrollIntoView({ block: 'nearest' })
    $('a.open', row)?.focus({ preventScroll: true })
  }
  const step = (by) => {
    const all = rows()
    const chosen = here() ?? $('#rows > :has([aria-current])')
    const at = all.indexOf(chosen)
    go(all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)])
    if ($('#detail')) load(here())
  }

  // A click anywhere in a row of a list opens it, unless it is on a link or chooses text.
  document.addEventListener('click', (event) => {
    const row = event.target.closest('.list #rows > tr')
    if (!row || event.target.closest('a, button') || String(getSelection())) return
    $('a.open', row)?.click()
  })

  // ---- the chosen span --------------------------------------------------------------------------------------------
  let wanted = 0
  const show = async (href, keep) => {
    const number = ++wanted
    const detail = $('#detail')
    const answer = await fetch(href, { headers: { 'x-part': 'detail' } }).catch(() => null)
    if (!answer?.ok || number !== wanted) return false
    detail.innerHTML = await answer.text()
    colour(detail)
    if (!keep) detail.scrollTop = 0
    history.replaceState(null, '', href)
    return true
  }
  const load = async (row) => {
    const link = row && $('a.open', row)
    if (!link) return
    for (const other of $$('#rows [aria-current]')) other.removeAttribute('aria-current')
    link.setAttribute('aria-current', 'true')
    if (await show(link.href)) say(`${$('.name', link).textContent} is shown`)
  }
  document.addEventListener('click', (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || !$('#detail')) return
    const link = event.target.closest('a')
    if (link?.matches('#rows a.open')) {
      event.preventDefault()
      go(link.closest('#rows > *'))
      load(link.closest('#rows > *'))
    } else if (link?.matches('#detail [data-detail]')) {
      event.preventDefault()
      show(link.href, true)
    }
  })

  // ---- copying ----------------------------------------------------------------------------------------------------
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text)
    } catch {
      const area = document.createElement('textarea')
      area.value = text
      document.body.append(area)
      area.select()
      document.execCommand('copy')
      area.remove()
    }
  }
  document.addEventListener('click', async (event) => {
    const button = event.target.closest('[data-copy]')
    if (!button) return
    const answer = await fetch(button.dataset.copy).catch(() => null)
    if (!answer?.ok) return say('It could not be copied')
    await copy(await answer.text())
    // Who clicks again meanwhile finds the name no more.
    button.dataset.name ??= button.textContent
    button.textContent = 'Copied'
    say(`Copied as ${button.dataset.name}`)
    setTimeout(() => {
      button.textContent = button.dataset.name
    }, 1200)
  })

  // ---- JSON in colours --------------------------------------------------------------------------------------------
  const TOKENS = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
  const colour = (from) => {
    for (const code of $$('pre.json > code', from)) {
      const text = code.textContent
      if (text.length > 60000 || code.childElementCount) continue
      const parts = document.createDocumentFragment()
      let done = 0
      for (const found of text.matchAll(TOKENS)) {
        const [all, string, colon, word] = found
        const span = document.createElement('span')
        span.className = string ? (colon ? 'j-key' : 'j-text') : word ? 'j-word' : 'j-number'
        span.textContent = string ?? all
        parts.append(text.slice(done, found.index), span, colon ?? '')
        done = found.index + all.length
      }
      parts.append(text.slice(done))
      code.replaceChildren(parts)
    }
  }
  colour(document)

  // ---- what is new ------------------------------------------------------------------------------------------------
  const isLive = !/^\/(trace|event)\//.test(location.pathname)
  let seen = null
  const renew = async () => {
    const answer = await fetch(location.href, { headers: { 'x-part': 'main' } }).catch(() => null)
    if (!answer?.ok) return
    const known = new Set(rows().map((row) => row.dataset.key))
    const chosen = here()?.dataset.key
    const main = $('#main')
    const focus = main.contains(document.activeElement) ? document.activeElement : null
    const focused = focus?.closest('#rows > *')?.dataset.key
    const wasBusy = $('[data-busy]') !== null
    main.innerHTML = await answer.text()
    let fresh = 0
    for (const row of rows()) {
      // What was in the file before and is read only now is nothing new.
      if (known.size && !wasBusy && !known.has(row.dataset.key)) {
        row.classList.add('fresh')
        fresh += 1
      }
      if (row.dataset.key === chosen) row.classList.add('here')
    }
    if (focus) {
      // Who walks through the page by the keyboard stays where they were.
      const row = rows().find((row) => row.dataset.key === focused)
      const links = $$('a[href]', row ?? main)
      const same = links.find((link) => link.getAttribute('href') === focus.getAttribute('href'))
      ;(same ?? (row ? $('a.open', row) : null) ?? main).focus({ preventScroll: true })
    }
    if (fresh) say(`New ${$('h1').firstChild.textContent.trim().toLowerCase()}: ${fresh}`)
  }
  const look = async () => {
    if (document.hidden) return
    const answer = await fetch('/version').catch(() => null)
    $('#live').classList.toggle('on', Boolean(answer?.ok) && isLive)
    if (!answer?.ok) return
    const now = await answer.text()
    if (seen !== null && (now !== seen || $('[data-busy]')) && isLive && !String(getSelection())) await renew()
    seen = now
  }
  const watch = async () => {
    await look()
    // The rest of a store that is still read is there soon.
    setTimeout(watch, $('[data-busy]') ? 300 : 1000)
  }
  watch()

  // ---- the keyboard -----------------------------------------------------------------------------------------------
  const help = $('#help')
  $('#keys').addEventListener('click', () => help.showModal())
  const PLACES = { o: '/', t: '/traces', n: '/generations', s: '/sessions', u: '/users', m: '/models', e: '/errors', l: '/tools', h: '/health' }
  let first = ''
  document.addEventListener('keydown', (event) => {
    const typing = event.target.matches('input, textarea, select')
    if (event.key === 'Escape') {
      if (help.open) return
      if (typing) return event.target.blur()
      const back = $('.crumbs a')
      if (back) back.click()
      else if (here()) {
        here().classList.remove('here')
        document.activeElement?.blur()
      }
      return
    }
    if (typing || event.metaKey || event.ctrlKey || event.altKey || help.open) return
    if (first === 'g' && PLACES[event.key]) {
      const link = $(`.side nav a[href^="${PLACES[event.key]}"]`)
      const exact = $$('.side nav a').find((link) => new URL(link.href).pathname === PLACES[event.key])
      ;(exact ?? link)?.click()
      first = ''
      return
    }
    first = event.key
    const act = {
      j: () => step(1),
      k: () => step(-1),
      ArrowDown: here() && (() => step(1)),
      ArrowUp: here() && (() => step(-1)),
      Enter: () => document.activeElement === document.body && $('a.open', here() ?? document.body)?.click(),
      '/': () => $('#q').focus(),
      '?': () => help.showModal(),
    }[event.key]
    if (!act) return
    if (event.key !== 'Enter') event.preventDefault()
    act()
  })
})
