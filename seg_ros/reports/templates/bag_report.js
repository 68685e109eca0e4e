(() => {
'use strict'
const byId = id => document.getElementById(id)
document.documentElement.classList.add('js')

// Systems are shown and hidden in all plots together.
for (const button of document.querySelectorAll('.systems button')) {
  button.addEventListener('click', () => {
    const isShown = button.getAttribute('aria-pressed') !== 'true'
    button.setAttribute('aria-pressed', isShown)
    for (const part of document.querySelectorAll('.chart .of' + button.dataset.system)) {
      part.style.display = isShown ? '' : 'none'
    }
  })
}

// A picture opens larger; the arrow keys go through all pictures.
const zoom = byId('zoom'), zooms = [...document.querySelectorAll('.zoom')]
let zoomed = 0
function show(place) {
  zoomed = (place + zooms.length) % zooms.length
  const small = zooms[zoomed].querySelector('img'), large = new Image()
  large.src = small.src
  large.alt = small.alt
  byId('zoom-picture').replaceChildren(large)
  byId('zoom-text').textContent = small.alt
}
zooms.forEach((button, place) => button.addEventListener('click', () => {
  show(place)
  zoom.showModal()
}))
zoom.addEventListener('close', () => {
  byId('zoom-picture').replaceChildren()
  zooms[zoomed]?.focus()
})
zoom.addEventListener('click', event => { if (event.target === zoom) zoom.close() })
zoom.addEventListener('keydown', event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
  if (!step || !zooms.length) return
  event.preventDefault()
  show(zoomed + step)
})
for (const button of document.querySelectorAll('dialog .close')) {
  button.addEventListener('click', () => button.closest('dialog').close())
}

// The scrubber.
const keys = byId('keys'), section = byId('scrubber')
if (!section) {
  document.addEventListener('keydown', event => { if (event.key === '?' && !keys.open) keys.showModal() })
  return
}
const frames = JSON.parse(byId('frames-data').textContent)
const position = byId('position'), opacity = byId('opacity'), play = byId('play'), overlay = byId('overlay')
const stage = byId('stage'), image = byId('stage-image'), labels = byId('stage-labels'), text = byId('stage-text')
const calm = matchMedia('(prefers-reduced-motion: reduce)')
let current = 0, timer = 0

function go(place) {
  current = Math.min(Math.max(place, 0), frames.length - 1)
  const frame = frames[current]
  image.src = frame.image || byId(frame.card).querySelector('img').src
  labels.src = frame.labels
  image.alt = frame.title + ' of ' + frame.bag
  stage.style.aspectRatio = frame.size[0] + ' / ' + frame.size[1]
  position.value = current
  position.setAttribute('aria-valuetext', `${frame.title}, ${current + 1} of ${frames.length}`)
  byId('stage-title').textContent = frame.title
  byId('stage-bag').textContent = frame.bag
  byId('stage-count').textContent = `${current + 1} of ${frames.length} frames`
  byId('stage-reasons').textContent = frame.reasons.join(', ')
  byId('stage-values').replaceChildren(...frame.values.map(([name, value]) => {
    const row = document.createElement('div')
    row.append(document.createElement('dt'), document.createElement('dd'))
    row.firstChild.textContent = name
    row.lastChild.textContent = value
    return row
  }))
}
function blend() {
  const isShown = overlay.getAttribute('aria-pressed') === 'true'
  labels.style.opacity = isShown ? opacity.value / 100 : 0
}
function toggleOverlay() {
  overlay.setAttribute('aria-pressed', overlay.getAttribute('aria-pressed') !== 'true')
  blend()
}
function stop() {
  clearInterval(timer)
  timer = 0
  play.textContent = 'Play'
  text.setAttribute('aria-live', 'polite')
}
function togglePlay() {
  if (timer) return stop()
  if (current === frames.length - 1) go(0)
  play.textContent = 'Pause'
  text.setAttribute('aria-live', 'off')
  timer = setInterval(() => {
    if (current < frames.length - 1) go(current + 1)
    else stop()
  }, calm.matches ? 1200 : 250)
}
function isInView() {
  const box = stage.getBoundingClientRect()
  return box.top < innerHeight * 0.7 && box.bottom > innerHeight * 0.3
}
const moves = { ArrowLeft: () => current - 1, ArrowRight: () => current + 1, Home: () => 0, End: () => frames.length - 1 }
document.addEventListener('keydown', event => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented || zoom.open || keys.open) return
  const target = event.target, isInside = section.contains(target)
  if (!isInside && target !== document.body && target !== document.documentElement) {
    if (event.key === '?') keys.showModal()
    return
  }
  const scrolls = event.key === ' ' || event.key === 'Home' || event.key === 'End'
  if (scrolls && !isInside && !isInView()) return
  if (event.key === '?') keys.showModal()
  else if (event.key === 'o' || event.key === 'O') toggleOverlay()
  else if (event.key === ' ' && !(target instanceof HTMLButtonElement)) togglePlay()
  else if (moves[event.key] && target !== opacity) {
    stop()
    go(moves[event.key]())
  } else return
  event.preventDefault()
})
position.addEventListener('input', () => { stop(); go(Number(position.value)) })
opacity.addEventListener('input', () => {
  overlay.setAttribute('aria-pressed', 'true')
  blend()
})
overlay.addEventListener('click', toggleOverlay)
play.addEventListener('click', togglePlay)
byId('back').addEventListener('click', () => { stop(); go(current - 1) })
byId('next').addEventListener('click', () => { stop(); go(current + 1) })
byId('help').addEventListener('click', () => keys.showModal())
for (const button of document.querySelectorAll('[data-place]')) {
  button.addEventListener('click', () => {
    stop()
    go(Number(button.dataset.place))
    section.scrollIntoView()
    stage.focus({ preventScroll: true })
  })
}
frames.forEach((frame, place) => {
  if (!frame.reasons.length || frames.length < 2) return
  const mark = document.createElement('i')
  mark.style.left = 100 * place / (frames.length - 1) + '%'
  mark.title = frame.title + ': ' + frame.reasons.join(', ')
  mark.addEventListener('click', () => { stop(); go(place) })
  byId('marks').append(mark)
})
go(0)
blend()
})()
