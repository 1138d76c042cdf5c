import { defineConfig } from 'vite'

export default defineConfig({
  // Works below any path.
  base: './',
  build: { target: 'es2022', sourcemap: true },
})
