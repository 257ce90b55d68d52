(text) => (text.startsWith('?') ? location.origin + location.pathname + text : text)
