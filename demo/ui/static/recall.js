() => { try { return localStorage.getItem('musicgen') || ''; } catch { return ''; } }
