// A reload brings back what the visitor has done since, and not the settings of the link again.
() => {
  const url = new URL(location.href);
  if (!url.searchParams.has('s')) return;
  url.searchParams.delete('s');
  history.replaceState(history.state, '', url);
}
